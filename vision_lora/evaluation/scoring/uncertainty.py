"""How unsure a detector is: scores near the threshold, where a little more or less would change what is done."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.detections import CONFIDENCE, Detections


def uncertainty(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Nearness of each score to its threshold: 1 at it, falling in a straight line to 0 at the scores 0 and 1.

    Uncertainty sampling (Lewis & Gale 1994): what is nearest to the boundary of the decision is asked first. With a
    threshold of 0.5 it is the margin between "object" and "none" (Settles 2009, section 3.1), turned round.

    Args:
        scores: 0 to 1, (n,).
        thresholds: above which each counts, 0 to 1, (n,).

    Examples:
        >>> uncertainty(np.array([0.1, 0.2, 0.6]), np.array([0.2, 0.2, 0.2])).round(3).tolist()
        [0.5, 1.0, 0.5]
    """
    room = np.where(scores < thresholds, thresholds, 1 - thresholds.astype(np.float64))
    return 1 - np.abs(scores - thresholds) / np.maximum(room, np.finfo(np.float64).tiny)


def picture_uncertainty(found: Detections, thresholds: dict[str, float]) -> float:
    """That of the picture's most uncertain detection (the maximum of Brust et al. 2019, section 3.2); 0 without any.

    A sum would ask for the pictures with the most objects.

    Args:
        found: detections down to low scores.
        thresholds: by class name; `CONFIDENCE` for all others.
    """
    limits = np.array([thresholds.get(found.name(row), CONFIDENCE) for row in range(len(found))], np.float64)
    return float(uncertainty(found.scores, limits).max(initial=0.0))
