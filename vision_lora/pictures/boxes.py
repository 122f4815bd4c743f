"""Boxes: how much of each other they cover, and which detection takes which box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", bound=np.floating[Any])


def areas(boxes: NDArray[Float]) -> NDArray[Float]:
    """Area of each box, given by corners x1, y1, x2, y2, (..., 4); 0 where it has none, or is inside out.

    Examples:
        >>> areas(np.array([[0, 0, 4, 3], [2, 2, 2, 9], [5, 5, 4, 4]], "f4")).tolist()
        [12.0, 0.0, 0.0]
    """
    found: NDArray[Float] = (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)
    return found


def cut(first: NDArray[Float], second: NDArray[Float]) -> NDArray[Float]:
    """What two boxes have in common, each of the first with its own of the second; inside out where that is nothing.

    Args:
        first: (..., 4).
        second: of a shape that goes with it.

    Examples:
        >>> cut(np.array([[0, 0, 10, 10]], "f4"), np.array([5, 8, 20, 20], "f4")).tolist()
        [[5.0, 8.0, 10.0, 10.0]]
    """
    return np.concatenate(
        [np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])], -1
    )


def common(first: NDArray[Float], second: NDArray[Float]) -> NDArray[Float]:
    """Area that each box, (n, 4), has in common with each, (m, 4): (n, m)."""
    return areas(cut(first[:, None], second[None]))


def iou(first: NDArray[Float], second: NDArray[Float]) -> NDArray[Float]:
    """Intersection over union of each box with each.

    Args:
        first: (n, 4).
        second: (m, 4).

    Returns:
        0 to 1, (n, m). A box without an area overlaps with nothing, not even with itself.

    Examples:
        >>> iou(np.array([[0, 0, 2, 2]], "f4"), np.array([[0, 0, 2, 1], [1, 1, 1, 1]], "f4")).tolist()
        [[0.5, 0.0]]
    """
    both = common(first, second)
    union = areas(first)[:, None] + areas(second)[None] - both
    union[union <= 0] = 1  # of two without an area, which have nothing in common either
    share: NDArray[Float] = both / union
    return share


def take(overlap: NDArray[np.floating[Any]], least: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Which box each detection takes, as COCOeval matches them: in turn the one that it overlaps most among those left.

    Args:
        overlap: of each detection, best first, with each box, (n, m); 0 where they do not belong together.
        least: overlaps from which on a detection may take a box, (T,), each above 0.

    Returns:
        Index of the box, -1 for none, by `least`, (T, n). Of boxes with the same overlap the last is taken.

    Examples:
        The best detection takes what the second overlaps too, which takes the other box where half is enough:

        >>> take(np.array([[0.9, 0.1], [0.8, 0.6]]), [0.5, 0.75]).tolist()
        [[0, 1], [0, -1]]
    """
    levels = np.asarray(least, np.float64)[:, None]  # (T, 1)
    taken = np.full((len(levels), len(overlap)), -1, np.int64)
    free = np.ones((len(levels), overlap.shape[1]), np.bool_)
    for row in np.flatnonzero((overlap >= levels.min()).any(1)):
        within = np.where(free & (overlap[row] >= levels), overlap[row], -1.0)  # (T, m)
        best = within.shape[1] - 1 - np.argmax(within[:, ::-1], 1)
        hit = within.max(1) >= 0
        taken[hit, row] = best[hit]
        free[hit, best[hit]] = False
    return taken
