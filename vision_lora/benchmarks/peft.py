"""PEFT's LoRA as it is commonly put on a YOLO: the other library's baseline."""

from __future__ import annotations

from collections.abc import Sequence

from peft import LoraConfig, inject_adapter_in_model

from vision_lora.detectors.base import Detector
from vision_lora.detectors.full import replace_classes
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import plan_adapter
from vision_lora.options.placement import Placement


def with_peft(model: str, names: Sequence[str], rank: int, placement: Placement = "all") -> Detector:
    """A base with PEFT's LoRA on the dense convolutions that our adapter would change, ready for training.

    BatchNorm is kept and frozen, and the layers of the new classes train in full.

    Args:
        model: name or path of the base.
        names: the new classes.
        rank: of the factors.
        placement: which stages are adapted.
    """
    detector = load_base(model, fold=False)
    plan = plan_adapter(load_base(model), len(names), rank=rank, placement=placement)
    replace_classes(detector, names)
    layers = [entry.site for entry in plan.adapted if entry.variant == "lora"]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), detector.network)
    for layer in detector.class_layers():
        detector.network.get_submodule(layer).requires_grad_(True)
    return detector
