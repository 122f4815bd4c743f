"""How unsure a detector is of a score, and of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from vision_lora.evaluation.scoring.uncertainty import picture_uncertainty, uncertainty
from vision_lora.pictures.detections import Detections


def test_at_the_threshold_it_is_largest_and_at_the_ends_none() -> None:
    scores = np.array([0.0, 0.125, 0.25, 0.625, 1.0])
    assert uncertainty(scores, np.full(5, 0.25)).tolist() == [0, 0.5, 1, 0.5, 0]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends(threshold: float) -> None:
    assert uncertainty(np.array([0.0, 0.5, 1.0]), np.full(3, threshold)).tolist() == sorted(
        [0, 0.5, 1], reverse=threshold == 0
    )


def test_with_a_half_it_is_the_margin_turned_round() -> None:
    scores = np.linspace(0, 1, 11)
    margin = np.abs(scores - (1 - scores))
    assert uncertainty(scores, np.full(11, 0.5)) == pytest.approx(1 - margin)


def test_a_picture_is_as_unsure_as_its_most_unsure_detection() -> None:
    """A dent at its own threshold, a pit far above the usual one."""
    boxes = np.zeros((2, 4), np.float32)
    found = Detections(boxes, np.array([0.95, 0.6], np.float32), np.array([0, 1]), ("pit", "dent"), 0)
    assert picture_uncertainty(found, {"dent": 0.6}) == pytest.approx(1)
    assert picture_uncertainty(found, {}) == pytest.approx(0.4 / 0.75)
    nothing = Detections(boxes[:0], boxes[:0, 0], np.zeros(0, np.int64), ("pit",), 0)
    assert picture_uncertainty(nothing, {}) == 0
