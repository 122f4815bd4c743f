"""Intervals that say how far a number from few parts can be trusted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # of the normal distribution, for 95 %


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """A 95 % interval for a share (Wilson 1927).

    A bootstrap of a share gives an interval of no width where all parts, or none, are hits, which is what one sees
    with few parts; this one does not.

    Examples:
        >>> [round(end, 2) for end in share_interval(18, 18)]
        [0.82, 1.0]
    """
    if not count:
        return 0.0, 1.0
    share, weight = hits / count, Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def roc_area(bad: NDArray[np.float64], good: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a bad part scores above a good one, ties half (Mann & Whitney 1947).

    Args:
        bad: scores of bad parts, (b,), at least one.
        good: scores of good parts, (g,), at least one.
    """
    return float(_wins(bad, good).mean())


def roc_area_interval(
    bad: NDArray[np.float64], good: NDArray[np.float64], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """A 95 % interval for the area: percentiles of a bootstrap by part (Efron 1979), bad and good drawn apart.

    Args:
        bad: scores of bad parts, (b,), at least one.
        good: scores of good parts, (g,), at least one.
        draws: resamples.
        seed: of the resamples.
    """
    random = np.random.default_rng(seed)
    wins = _wins(bad, good)
    first = random.multinomial(len(bad), np.full(len(bad), 1 / len(bad)), draws)  # how often each is drawn
    second = random.multinomial(len(good), np.full(len(good), 1 / len(good)), draws)
    areas = ((first @ wins) * second).sum(1) / wins.size
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(low), float(high)


def _wins(bad: NDArray[np.float64], good: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where a bad part scores above a good one, a half where they are equal, (b, g)."""
    higher = (bad[:, None] > good[None]).astype(np.float64)
    wins: NDArray[np.float64] = higher + 0.5 * (bad[:, None] == good[None])
    return wins
