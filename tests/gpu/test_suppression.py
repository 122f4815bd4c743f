"""Suppression on a GPU: the CPU's detections, asked for a few times a batch."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.detectors.test_suppression import expect_same, outputs
from vision_lora.detectors import suppression
from vision_lora.detectors.readout import MEASURE, Readout
from vision_lora.detectors.suppression import read_dense


@pytest.mark.parametrize("classes", [1, 6, 80])
@pytest.mark.parametrize("readout", [MEASURE, Readout(confidence=0.3, iou=0.5)])
@pytest.mark.parametrize("at_once", [300, 16384])
def test_a_gpu_keeps_what_a_cpu_keeps(
    classes: int, readout: Readout, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suppression, "AT_ONCE", at_once)
    readout = readout._replace(limit=10_000)  # of equal scores any may be the last that counts
    raw = outputs(classes, classes=classes, cells=400 if classes < 80 else 60)
    found = read_dense(raw.cuda(), readout)
    assert all(one.boxes.device.type == "cpu" for one in found)
    expect_same(found, read_dense(raw, readout))


def test_more_pictures_are_no_more_waits() -> None:
    counts = []
    for pictures in (2, 16):
        raw = outputs(0, classes=3, pictures=pictures, cells=100).cuda()
        read_dense(raw, Readout())
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                read_dense(raw, Readout())
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(len(told))
    assert 0 < counts[0] == counts[1]
