"""Whether a score of 0.8 means that eight of ten such detections are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_lora.evaluation.scoring.outcomes import Floats, Ints, Outcomes

BINS = 10
LEAST = 0.05  # lower scores are background to everybody: by their number they would hide the rest


@dataclass(frozen=True, eq=False)
class Calibration:
    """Detections in bins of their score.

    Attributes:
        count: detections, (bins,).
        score: their mean score, (bins,); 0 where there are none.
        precision: share of them that is right, (bins,); 0 where there are none.
        error: expected calibration error, 0 to 1; 0 without any detection.
    """

    count: Ints
    score: Floats
    precision: Floats
    error: float


def calibration(outcomes: Outcomes, index: int | None = None) -> Calibration:
    """Precision against score in bins of equal width, and the expected calibration error.

    The error is the mean over detections of |precision - score| of their bin (Naeini et al. 2015; for detectors, by
    precision, Küppers et al. 2020), among those with a score of at least 0.05.

    Args:
        outcomes: of a split.
        index: of a class; None for all together.
    """
    own = outcomes.counts & (outcomes.scores >= LEAST)
    if index is not None:
        own &= outcomes.classes == index
    scores, right = outcomes.scores[own], outcomes.right[own]
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS).astype(np.int64)
    some = count.clip(1)
    score: Floats = np.bincount(bins, scores, BINS) / some
    precision: Floats = np.bincount(bins, right.astype(np.float64), BINS) / some
    error = float((count * np.abs(precision - score)).sum() / max(1, count.sum()))
    return Calibration(count, score, precision, error)
