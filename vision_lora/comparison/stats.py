"""Statistics of a comparison: spread over seeds, and a paired bootstrap over pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_lora.evaluation.matches import ClassMatches, mean_average_precision

RESAMPLES = 1000
_CHUNK = 50  # resamples at once: memory stays within some hundred megabytes


class Spread(NamedTuple):
    """Mean and standard deviation over seeds.

    Attributes:
        mean: of the values.
        deviation: with n - 1 below; None of a single value.
    """

    mean: float
    deviation: float | None


class Interval(NamedTuple):
    """A difference with its 95 % interval.

    Attributes:
        difference: of the two means.
        low: 2.5 % of the resamples lie below.
        high: 2.5 % lie above.
    """

    difference: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of one value a seed.

    Examples:
        >>> spread([0.25, 0.75])
        Spread(mean=0.5, deviation=0.3535533905932738)
        >>> spread([0.5])
        Spread(mean=0.5, deviation=None)
    """
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def resampled(
    runs: Mapping[str, Sequence[Sequence[ClassMatches]]], pictures: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """mAP50-95 of each method, mean over its runs, on the same resamples of the pictures (Efron 1979).

    Args:
        runs: for each method, the matches of each of its runs.
        pictures: how many there are.
        resamples: how often the pictures are drawn anew, as many as there are, with replacement.
        seed: of the draws.

    Returns:
        By method, (resamples,).
    """
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), resamples)
    chunks = [draws[start : start + _CHUNK] for start in range(0, resamples, _CHUNK)]
    return {
        method: np.mean(
            [np.concatenate([mean_average_precision(run, chunk) for chunk in chunks]) for run in of_method], axis=0
        )
        for method, of_method in runs.items()
    }


def paired(first: NDArray[np.float64], second: NDArray[np.float64], difference: float) -> Interval:
    """The 95 % percentile interval of first - second over the same resamples.

    Args:
        first: mAP of one method, (resamples,).
        second: of the other.
        difference: as measured on the pictures themselves.
    """
    gaps = first - second
    low, high = np.percentile(gaps[~np.isnan(gaps)], [2.5, 97.5])
    return Interval(difference, float(low), float(high))
