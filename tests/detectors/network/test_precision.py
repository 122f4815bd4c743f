"""Attention in half precision: two hundred steps without a number that is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.detectors.build import NAMES, as_trained, make, pictures
from vision_lora.detectors.base import Detector
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector

# isort: split
# After `yolo`, which sets how Ultralytics behaves.
from ultralytics.nn.tasks import DetectionModel

ATTENTION = ("yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml", "rtdetr", "hf:yolos")
# The blocks of YOLO11, YOLO12 and YOLO26 that attend, in networks with little else; and their kinds of heads.
BLOCKS: dict[str, dict[str, Any]] = {
    "C2PSA": {"block": [-1, 1, "C2PSA", [128]]},
    "A2C2f": {"block": [-1, 1, "A2C2f", [128, True, 4]]},
    "C3k2 with attention, NMS-free": {
        "block": [-1, 1, "C3k2", [128, True, 0.5, True]],
        "end2end": True,
        "reg_max": 1,
    },
}


def attending(name: str) -> Detector:
    more = dict(BLOCKS[name])
    down = [-1, 1, "Conv", [128, 3, 2]]
    layers = {
        "nc": 5,
        "scales": {"n": [1.0, 1.0, 256]},
        "scale": "n",
        "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], down, more.pop("block")],
        "head": [down, [[3, 4], 1, "Detect", ["nc"]]],
        **more,
    }
    torch.manual_seed(0)
    return YoloDetector.of(as_trained(DetectionModel(layers, verbose=False)), name)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(("precision", "steps"), [(torch.bfloat16, 200), (torch.float16, 40)], ids=str)
def test_no_step_gives_what_is_no_number(name: str, precision: torch.dtype, steps: int) -> None:
    detector = attending(name)
    adapter = new_adapter(detector, NAMES, rank=4, imgsz=64)
    detector.attach(adapter)
    assert any("attn" in site for site in adapter.deltas)
    images, targets = pictures(2, 64)
    optimizer = torch.optim.AdamW([p for p in adapter.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", precision):
            loss = torch.stack(list(detector.losses(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 10.0)
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(torch.tensor(losses)))
    assert all(torch.isfinite(tensor).all() for tensor in adapter.state_dict().values())
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_close_to_full(name: str, precision: torch.dtype) -> None:
    """The loss of the first step, and gradients that are numbers."""
    detector = make(name)
    adapter = new_adapter(detector, NAMES, rank=4, imgsz=64)
    detector.attach(adapter)
    sums = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", precision, enabled=enabled):
            loss = torch.stack(list(detector.losses(*pictures(2, 64)).values())).sum()
        sums.append(loss.item())
    loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in adapter.parameters())
    assert sums[1] == pytest.approx(sums[0], rel=0.1)
