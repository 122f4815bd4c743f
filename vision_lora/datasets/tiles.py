"""Large frames with small defects: cut into overlapping tiles for training, joined again at inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.batches.mix import cut_boxes
from vision_lora.datasets.sample import Boxes, Classes, Sample, Scores
from vision_lora.errors import ConfigError
from vision_lora.pictures.boxes import areas, cut
from vision_lora.pictures.detections import Detections

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the frame

_SAME = 0.5  # how alike (see `_alike`) boxes of two tiles must be to be one defect
_EDGE = 2.0  # pixels: a box this close to its tile's inner edge was probably cut there


@dataclass(frozen=True, eq=False)
class TileDetections:
    """What was found in one tile.

    Args:
        window: the tile.
        boxes: corners in pixels of the tile, (n, 4) float32.
        scores: (n,) float32.
        classes: (n,) int64.
    """

    window: Window
    boxes: Boxes
    scores: Scores
    classes: Classes


def tile_windows(width: int, height: int, tile: int, overlap: float) -> list[Window]:
    """Windows that cover a frame, row by row, all of one size and spread evenly.

    Args:
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        tile: side of a tile in pixels; a frame that is smaller gives one window of its own size.
        overlap: least share of a tile that its neighbour shows too, 0 or more and less than 1.

    Raises:
        ConfigError: a tile below 32 pixels, or an overlap out of range.

    Examples:
        >>> tile_windows(1000, 600, 640, 0.2)
        [(0, 0, 640, 600), (360, 0, 1000, 600)]
    """
    if tile < 32:
        raise ConfigError(f"--tile {tile}: expected 32 or more, in pixels")
    if not 0 <= overlap < 1:
        raise ConfigError(f"--overlap {overlap}: expected 0 or more, less than 1")
    return [
        (x, y, min(x + tile, width), min(y + tile, height))
        for y in _starts(height, tile, overlap)
        for x in _starts(width, tile, overlap)
    ]


def cut_tiles(samples: Sequence[Sample], tile: int, overlap: float, *, min_visibility: float = 0.3) -> list[Sample]:
    """Samples of which each is one tile of a frame; their boxes follow.

    Args:
        samples: frames of any size.
        tile: side of a tile in pixels.
        overlap: least share of a tile that its neighbour shows too.
        min_visibility: share of its area that a box must keep. A sliver below it becomes an ignored region: what is
            left of the defect is there to see, so it is no background either.

    Raises:
        ConfigError: `tile` or `overlap` out of range.
    """
    tiles = []
    for sample in samples:
        for window in tile_windows(sample.width, sample.height, tile, overlap):
            x1, y1, x2, y2 = window
            boxes, kept = cut_boxes(sample.boxes, window, min_visibility)
            slivers, rest = cut_boxes(sample.boxes[~kept], window, 0.0)
            ignored, shown = cut_boxes(sample.ignored, window, 0.0)
            corner = np.array([x1, y1, x1, y1], np.float32)
            tiles.append(
                replace(
                    sample,
                    width=x2 - x1,
                    height=y2 - y1,
                    boxes=boxes - corner,
                    classes=sample.classes[kept],
                    ignored=np.concatenate([ignored, slivers]) - corner,
                    ignored_classes=np.concatenate([sample.ignored_classes[shown], sample.classes[~kept][rest]]),
                    window=window,
                    areas=None,  # a part's is not told
                )
            )
    return tiles


def join_tiles(found: Sequence[TileDetections], width: int, height: int) -> tuple[Boxes, Scores, Classes]:
    """Detections of a whole frame from those of its tiles.

    A defect that several tiles see is told once, by the best score; where a tile's edge cut it, the parts are put
    together. Boxes of one tile are left as its detector gave them.

    Args:
        found: one entry a tile.
        width: of the frame, in pixels.
        height: of the frame, in pixels.

    Returns:
        Corners in pixels of the frame (n, 4) float32, scores (n,) float32 and classes (n,) int64, best score first.
    """
    if not found:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    boxes = np.concatenate([tile.boxes + np.tile(np.array(tile.window[:2], np.float32), 2) for tile in found])
    scores = np.concatenate([tile.scores for tile in found])
    classes = np.concatenate([tile.classes for tile in found])
    source = np.concatenate([np.full(len(tile.scores), index) for index, tile in enumerate(found)])
    windows = np.array([tile.window for tile in found], np.float32)[source]  # (n, 4)
    # Edges of the frame itself cut nothing that another tile could show.
    inner = windows != np.array([0, 0, width, height], np.float32)
    cut = (inner & (np.abs(boxes - windows) <= _EDGE)).any(1)

    left = np.ones(len(scores), bool)
    kept = []
    for best in np.argsort(-scores, kind="stable"):
        if not left[best]:
            continue
        left[best] = False
        kept.append(best)
        seen = windows[best]  # the part of the frame that the box is told from
        others = left & (classes == classes[best]) & (source != source[best])
        while others.any():
            # The box grows with each part that is put to it, so the rest is compared anew.
            alike = np.where(others, _alike(boxes[best], seen, boxes, windows), 0)
            other = int(alike.argmax())
            if alike[other] < _SAME:
                break
            left[other] = False
            others &= source != source[other]
            if cut[best] or cut[other]:
                boxes[best] = _hull(boxes[best], boxes[other])
                seen = _hull(seen, windows[other])
    return boxes[kept].astype(np.float32), scores[kept].astype(np.float32), classes[kept].astype(np.int64)


def join_detections(parts: Sequence[tuple[Window | None, Detections]], width: int, height: int) -> Detections:
    """Detections of a whole picture from those of its tiles, each in pixels of its tile.

    Args:
        parts: a tile's window (None for the whole picture) and its detections; at least one.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    whole = (0, 0, width, height)
    tiles = [TileDetections(window or whole, part.boxes, part.scores, part.classes) for window, part in parts]
    boxes, scores, classes = join_tiles(tiles, width, height)
    at_limit = any(part.at_limit for _, part in parts)
    return replace(parts[0][1], boxes=boxes, scores=scores, classes=classes, at_limit=at_limit)


def _alike(box: Boxes, seen: Boxes, boxes: Boxes, windows: Boxes) -> NDArray[np.float32]:
    """How surely a box and each of others are one defect, (n,), 0 to 1.

    They are where one lies within the other (a sliver, and the whole), or where they agree in the part of the frame
    that both tiles see (two ends of something longer than the overlap).
    """
    common = cut(seen, windows)
    mine, theirs = cut(box, common), cut(boxes, common)
    shared = areas(cut(mine, theirs))
    agreement = shared / (areas(mine) + areas(theirs) - shared).clip(1e-9)
    within = shared / np.minimum(areas(box), areas(boxes)).clip(1e-9)
    alike: NDArray[np.float32] = np.maximum(agreement, within)
    return alike


def _hull(one: Boxes, other: Boxes) -> Boxes:
    """The smallest box around two, (4,)."""
    return np.concatenate([np.minimum(one[:2], other[:2]), np.maximum(one[2:], other[2:])])


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles start along one side."""
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile * (1 - overlap)))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]
