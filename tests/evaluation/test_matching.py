"""Which object a detection finds: of its own class by name, each once, the best-scoring detection first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.matching import objects_found
from vision_lora.pictures.detections import Detections

NAMES = ("dent", "scratch")
TRUTH = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [21, 20, 40, 40]], np.float32)


@pytest.mark.parametrize(
    ("classes", "boxes", "guessed", "expected"),
    [
        ([0, 1, 0], [0, 1], [1, 2], [0, 1]),  # the detector has `person` in front of the dataset's classes
        ([0, 1, 0], [0, 1], [2, 2], [-1, 1]),  # another class
        ([0, 1, 0], [0, 0], [1, 1], [0, -1]),  # found once
        ([0, 1, 1], [1, 1], [2, 2], [1, 2]),  # the second takes what is left
        ([0, 1, 0], [0], [0], [-1]),  # a class that the dataset does not know
        ([0, 1, 0], [], [], []),
    ],
)
def test_which_object_each_detection_finds(
    classes: list[int], boxes: list[int], guessed: list[int], expected: list[int]
) -> None:
    sample = Sample(Path("a.png"), 50, 50, TRUTH, np.array(classes))
    scores = np.linspace(0.9, 0.8, len(boxes)).astype(np.float32)
    found = Detections(TRUTH[boxes], scores, np.array(guessed, np.int64), ("person", *NAMES), 1)
    assert objects_found(sample, found, NAMES).tolist() == expected
