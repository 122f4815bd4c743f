"""Pictures with boxes, and detections of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vision_lora.datasets.sample import Sample
from vision_lora.pictures.detections import Detections

NAMES = ("pit", "dent", "stain")
Rows = Sequence[tuple[int, tuple[float, float, float, float]]]


def sample(rows: Rows, name: str = "a.png", size: int = 320) -> Sample:
    """A picture with boxes: class and corners each."""
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    return Sample(Path(name), size, size, boxes, np.array([kind for kind, _ in rows], np.int64))


def detections(rows: Rows, scores: Sequence[float]) -> Detections:
    """Detections in a picture, best first."""
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    kinds = np.array([kind for kind, _ in rows], np.int64)
    return Detections(boxes, np.array(scores, np.float32), kinds, NAMES, general=0)


def random_pictures(seed: int, pictures: int = 30) -> tuple[list[Detections], list[Sample]]:
    """Pictures with up to six objects, one in each cell of a grid, found, misplaced, mistaken, or missed at random.

    Cells keep objects apart: a detection can be at one box only, so that every rule of matching gives the same.
    """
    random = np.random.default_rng(seed)
    found, samples = [], []
    for index in range(pictures):
        truth, guess = [], []
        for cell in random.permutation(9)[: random.integers(0, 7)]:
            corner = np.array([cell % 3, cell // 3]) * 100.0 + random.uniform(0, 20, 2)
            size, kind = random.uniform(30, 60, 2), int(random.integers(len(NAMES)))
            if random.random() < 0.85:
                truth.append((kind, (*corner, *(corner + size))))
            if random.random() < 0.85:
                moved = corner + random.normal(0, 5, 2)
                kind = kind if random.random() < 0.7 else int(random.integers(len(NAMES)))
                guess.append((kind, (*moved, *(moved + size))))
        scores = np.sort(random.uniform(0.01, 1, len(guess)))[::-1].round(2)  # rounded: some are equal
        found.append(detections(guess, scores.tolist()))
        samples.append(sample(truth, f"{index}.png"))
    return found, samples
