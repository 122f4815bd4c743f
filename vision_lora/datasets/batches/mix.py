"""Pictures made of several pictures: mosaics, and defects pasted where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.sample import Boxes, Classes

_TRIES = 10  # places tried for a pasted defect before it is left out
_MARGIN = 0.1  # of a defect's side: how far its surroundings are blended into the new ones


@dataclass(frozen=True, eq=False)
class Picture:
    """A square training picture with its boxes.

    Args:
        image: (S, S, 3) uint8 RGB.
        boxes: corners in pixels of the square, (n, 4) float32.
        classes: (n,) int64.
        area: x1, y1, x2, y2 of the part that is not padding, in pixels.
    """

    image: NDArray[np.uint8]
    boxes: Boxes
    classes: Classes
    area: tuple[int, int, int, int]


def mosaic(pictures: Sequence[Picture], rng: np.random.Generator, min_visibility: float) -> Picture:
    """Put windows of four pictures into one, at their own scale: defects keep their size, backgrounds meet.

    Args:
        pictures: four of one size.
        rng: chooses where they meet and what each shows.
        min_visibility: share of its area that a box must keep, else it is dropped.
    """
    side = pictures[0].image.shape[0]
    x, y = (int(value) for value in rng.integers(side // 4, side - side // 4, 2))
    image = np.empty_like(pictures[0].image)
    boxes, classes = [], []
    quarters = ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side))
    for picture, (left, top, right, bottom) in zip(pictures, quarters, strict=True):
        dx = _offset(picture.area[0], picture.area[2], right - left, side, rng)
        dy = _offset(picture.area[1], picture.area[3], bottom - top, side, rng)
        image[top:bottom, left:right] = picture.image[dy : dy + bottom - top, dx : dx + right - left]
        moved = picture.boxes - np.array([dx, dy, dx, dy], np.float32) + np.array([left, top, left, top], np.float32)
        cut, kept = cut_boxes(moved, (left, top, right, bottom), min_visibility)
        boxes.append(cut)
        classes.append(picture.classes[kept])
    return Picture(image, np.concatenate(boxes), np.concatenate(classes), (0, 0, side, side))


def paste_defect(target: Picture, donor: Picture, rng: np.random.Generator) -> Picture:
    """Paste one defect of `donor` onto a free place of `target`, its edges blended in.

    Returns:
        A picture with one box more; `target` itself where the donor has no defect or none of the tried places is free.
    """
    if not len(donor.boxes):
        return target
    chosen = int(rng.integers(len(donor.boxes)))
    x1, y1, x2, y2 = _grown(donor.boxes[chosen], donor.area)
    width, height = x2 - x1, y2 - y1
    left, top, right, bottom = target.area
    if width < 2 or height < 2 or right - left < width or bottom - top < height:
        return target
    for _ in range(_TRIES):
        x, y = int(rng.integers(left, right - width + 1)), int(rng.integers(top, bottom - height + 1))
        low, high = np.maximum(target.boxes[:, :2], (x, y)), np.minimum(target.boxes[:, 2:], (x + width, y + height))
        if not (low < high).all(1).any():
            break
    else:
        return target
    mask = np.minimum(_ramp(height)[:, None], _ramp(width)[None, :])[..., None]  # (height, width, 1), 1 in the middle
    image = target.image.copy()
    under = image[y : y + height, x : x + width].astype(np.float32)
    over = donor.image[y1:y2, x1:x2].astype(np.float32)
    image[y : y + height, x : x + width] = (under + (over - under) * mask + 0.5).astype(np.uint8)
    box = donor.boxes[chosen] + np.array([x - x1, y - y1, x - x1, y - y1], np.float32)
    boxes, classes = np.vstack([target.boxes, box[None]]), np.append(target.classes, donor.classes[chosen])
    return Picture(image, boxes, classes, target.area)


def cut_boxes(
    boxes: Boxes, window: tuple[int, int, int, int], min_visibility: float
) -> tuple[Boxes, NDArray[np.bool_]]:
    """Cut boxes to a window.

    Args:
        boxes: corners, (n, 4).
        window: x1, y1, x2, y2 in the same pixels.
        min_visibility: share of its area that a box must keep.

    Returns:
        The boxes that stay, cut, (m, 4) float32; and which those are, (n,).
    """
    cut = np.concatenate([boxes[:, :2].clip(window[:2], window[2:]), boxes[:, 2:].clip(window[:2], window[2:])], 1)
    before, after = (boxes[:, 2:] - boxes[:, :2]).prod(1), (cut[:, 2:] - cut[:, :2]).prod(1)
    kept: NDArray[np.bool_] = (after > 0) & (after >= min_visibility * before)
    return cut[kept].astype(np.float32), kept


def _offset(low: int, high: int, length: int, side: int, rng: np.random.Generator) -> int:
    """Where a window of `length` starts: within the part that is not padding, if it fits there."""
    first, last = (low, high - length) if high - low >= length else (0, side - length)
    return int(rng.integers(first, last + 1))


def _grown(box: NDArray[np.float32], area: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """A box with a margin of its surroundings, in whole pixels, inside the picture."""
    margin = np.tile(_MARGIN * (box[2:] - box[:2]) + 1, 2) * (-1, -1, 1, 1)
    x1, y1, x2, y2 = (
        np.clip(np.round(box + margin), (*area[:2], *area[:2]), (*area[2:], *area[2:])).astype(int).tolist()
    )
    return x1, y1, x2, y2


def _ramp(length: int) -> NDArray[np.float32]:
    """Weights that rise from the edge to 1 within the margin, (length,)."""
    margin = max(1.0, _MARGIN * length)
    distance = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5)
    weights: NDArray[np.float32] = np.minimum(distance / margin, 1).astype(np.float32)
    return weights
