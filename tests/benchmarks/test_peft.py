"""The other library's baseline: our own layers, no more, and a BatchNorm that stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vision_lora.detectors.new_adapter import plan_adapter
from vision_lora.detectors.yolo import YoloDetector

pytest.importorskip("peft")

from vision_lora.benchmarks.peft import with_peft

NAMES = ("scratch", "dent")


def test_it_changes_what_our_adapter_changes_and_freezes_batchnorm() -> None:
    detector = with_peft("yolov8n.yaml", NAMES, rank=4)
    plan = plan_adapter(YoloDetector.load("yolov8n.yaml"), len(NAMES), rank=4)
    ours = {entry.site for entry in plan.adapted if entry.variant == "lora"}
    factors = {name.partition(".lora_A")[0] for name, _ in detector.network.named_parameters() if ".lora_A" in name}
    assert factors == ours
    trained = {name.partition(".lora_")[0] for name, p in detector.network.named_parameters() if p.requires_grad}
    assert trained - ours == {f"{layer}.{part}" for layer in detector.class_layers() for part in ("weight", "bias")}
    norms = [layer for layer in detector.network.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [layer.running_mean.clone() for layer in norms if layer.running_mean is not None]
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    losses = detector.losses(images, torch.tensor([[0.0, 1, 4, 4, 40, 40]]))
    sum(losses.values(), torch.zeros(())).backward()
    assert len(before) == len(norms) > 50
    assert all(torch.equal(layer.running_mean, was) for layer, was in zip(norms, before, strict=True))
