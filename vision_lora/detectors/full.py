"""Full fine-tuning: the network itself gets the new classes and learns, what an adapter is compared with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vision_lora.detectors.base import Detector
from vision_lora.detectors.network.rows import replace_rows
from vision_lora.options.placement import PLACEMENTS


def replace_classes(detector: Detector, names: Sequence[str], *, keep: bool = False) -> None:
    """Give the network itself other classes, untrained: what full fine-tuning does.

    Args:
        detector: without adapters.
        names: the new classes.
        keep: whether the old rows stay in front of the new ones; else they are lost.
    """
    kept = len(detector.names) if keep else 0
    names = (*detector.names[:kept], *names)
    for name in detector.class_layers():
        weight, bias = replace_rows(detector.network.get_submodule(name), len(names), kept)
        detector.initialise_rows(weight.view(len(names), -1)[kept:], None if bias is None else bias[kept:], name)
    detector.names = names
    detector.classes_changed(len(names))


def unfreeze(detector: Detector, stages: Collection[str] = PLACEMENTS["all"]) -> None:
    """Make the weights of these stages trainable; layers of the others keep weights and statistics."""
    fixed = detector.fixed_layers()
    for name, layer in detector.network.named_modules():
        frozen = name in fixed or detector.stage(name) not in stages
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(not frozen)
