"""Live BatchNorm in every family that has any: it trains, the base stays, and the file finds what training saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.detectors.build import NAMES, make, pictures
from vision_lora.adapters.adapter import fingerprint
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.readout import Readout


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolo26n.yaml", "rtdetr", "torchvision:retinanet", "hf:rt_detr"])
def test_a_family_trains_and_its_file_finds_the_same(name: str, tmp_path: Path) -> None:
    detector = make(name)
    adapter = new_adapter(detector, NAMES, rank=2, imgsz=128)
    live = adapter.thaw(detector.norms)
    assert live == len(adapter.deltas.keys() & detector.norms.keys()) > 0
    detector.attach(adapter)
    images, targets = pictures(2)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.stack(list(detector.losses(images, targets).values())).sum()
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
    starts = {site: norm.mean for site, norm in detector.norms.items()}
    moved = [not torch.equal(adapter.deltas[site].norm.mean, starts[site]) for site in adapter.deltas if site in starts]
    assert np.mean(moved) > 0.9, "statistics follow the pictures"

    readout = Readout(confidence=0.0, limit=20)
    before = detector.detect(images, mode="defects", readout=readout)
    save_adapter(adapter, tmp_path / "a.safetensors")
    detector.adapters.detach()
    detector.attach(load_adapter(tmp_path / "a.safetensors"))
    after = detector.detect(images, mode="defects", readout=readout)
    for one, other in zip(before, after, strict=True):
        assert len(one) == len(other) > 0
        assert np.allclose(one.scores, other.scores, atol=1e-4)
    assert fingerprint(detector.network.state_dict()) == detector.fingerprint
