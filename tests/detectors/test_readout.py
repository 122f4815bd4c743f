"""How many detections a picture may have: as many as are asked for, of every family, and told where that is reached."""

from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.build import make, pictures
from vision_lora.detectors.readout import Readout

EVERYTHING = Readout(confidence=0.0, iou=1.0)


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolo26n.yaml", "yolov10n.yaml", "rtdetr", "torchvision:retinanet"])
def test_a_limit_is_told_and_can_be_raised(name: str) -> None:
    """Heads of YOLO that need no suppression have a limit of their own, of 300."""
    detector, images = make(name), pictures(2)[0]
    few = detector.detect(images, readout=EVERYTHING._replace(limit=7))
    assert [(len(found), found.at_limit) for found in few] == [(7, True)] * 2
    many = detector.detect(images, readout=EVERYTHING._replace(limit=10_000))
    assert all(not found.at_limit and len(found) > 7 for found in many)
    if name.startswith("yolo"):
        assert [len(found) for found in many] == [336] * 2  # each cell of three levels
    for some, all_of_them in zip(few, many, strict=True):
        np.testing.assert_array_equal(some.scores, all_of_them.scores[:7])
