"""Boxes around masks: COCO's polygons and run-length encodings, without painting a single pixel."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXPECTED = "polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or a run-length encoding {'size': [h, w], 'counts': ...}"


def mask_box(segmentation: Any) -> tuple[float, float, float, float]:
    """The box around a COCO `segmentation`.

    Args:
        segmentation: a list of polygons, or a mapping with `size` and `counts` (a list, or COCO's compressed text).

    Returns:
        x, y, width, height in pixels, as COCO's `bbox`.

    Raises:
        ValueError: neither of the two, or an empty mask.
    """
    if isinstance(segmentation, dict):
        return _run_length_box(segmentation)
    try:
        values = np.fromiter(chain.from_iterable(segmentation), np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"not a mask; expected {_EXPECTED}") from None
    if len(values) < 6 or any(len(polygon) % 2 for polygon in segmentation):
        raise ValueError("a polygon with fewer than three points or half a point")
    xs, ys = values[0::2], values[1::2]
    return float(xs.min()), float(ys.min()), float(np.ptp(xs)), float(np.ptp(ys))


def _run_length_box(mask: dict[str, Any]) -> tuple[float, float, float, float]:
    """The box around a run-length encoded mask: runs of 0 and 1 in turn, column by column."""
    try:
        height, width = (int(side) for side in mask["size"])
        counts = mask["counts"]
        runs = _uncompress(counts) if isinstance(counts, str) else np.array(counts, np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"not a mask; expected {_EXPECTED}") from None
    ends = np.cumsum(runs)
    if height < 1 or width < 1 or (runs < 0).any() or len(ends) < 2 or ends[-1] != height * width:
        raise ValueError(f"a mask whose runs do not fill its {width} x {height} pixels")
    filled = runs[1::2] > 0
    first, last = ends[0:-1:2][: len(filled)][filled], ends[1::2][filled] - 1  # indices of pixels, both included
    if not len(first):
        raise ValueError("an empty mask")
    left, right = int(first[0]) // height, int(last[-1]) // height
    if (first // height != last // height).any():  # a run that turns a corner touches the bottom and the top
        top, bottom = 0, height - 1
    else:
        top, bottom = int((first % height).min()), int((last % height).max())
    return float(left), float(top), float(right - left + 1), float(bottom - top + 1)


def _uncompress(text: str) -> NDArray[np.int64]:
    """Run lengths from COCO's text: five bits a character, and from the third run on differences to two runs before."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"character {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("cut off within a number")
    return np.array(runs, np.int64)
