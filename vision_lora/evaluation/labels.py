"""Labels that a detector does not believe: which of a dataset's are to be looked at before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.sample import Sample
from vision_lora.detectors.base import Detector
from vision_lora.evaluation.measure import detect_all
from vision_lora.evaluation.scoring.choose import choose_thresholds
from vision_lora.evaluation.scoring.mistakes import Mistake, find_mistakes
from vision_lora.evaluation.scoring.outcomes import Floats, Outcomes, find_outcomes
from vision_lora.options.threshold import DEFAULT_RULE
from vision_lora.pictures.detections import CONFIDENCE

BATCH = 8  # pictures at once


def doubted_labels(
    detector: Detector, samples: Sequence[Sample], names: Sequence[str], *, imgsz: int
) -> tuple[Outcomes, Floats, list[Mistake]]:
    """Where a detector and the labels do not agree, likely mistakes of the labels first, see `find_mistakes`.

    Thresholds are those of the best F1 on these pictures: labels say what the detector is worth on them, though some
    are wrong.

    Args:
        detector: with its active adapter, which knows the classes; best one that was not trained on these labels.
        samples: the pictures.
        names: the dataset's classes.
        imgsz: side of the square that a picture is fitted into, pixels.

    Returns:
        Detections and boxes, the thresholds by class, (classes,), and the list.
    """
    found = detect_all(detector, eval_loader(samples, imgsz, BATCH), samples, mode="defects")
    outcomes = find_outcomes(found, samples, names)
    chosen = choose_thresholds(outcomes, DEFAULT_RULE).thresholds
    limits = np.array([chosen.get(name, CONFIDENCE) for name in names], np.float64)
    return outcomes, limits, find_mistakes(outcomes, limits)
