"""The one type behind every dataset format: a picture with its boxes, and what was wrong on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import DataError

Boxes = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and its boxes.

    Args:
        path: the picture's file.
        width: in pixels, after EXIF rotation.
        height: in pixels, after EXIF rotation.
        boxes: corners x1, y1, x2, y2 in pixels of the upright picture, inside it, (n, 4) float32.
        classes: index into the dataset's names, (n,) int64.
        ignored: regions that hold objects without a box each (crowd, ignore, difficult): neither defect nor background,
            corners as in `boxes`, (m, 4) float32.
    """

    path: Path
    width: int
    height: int
    boxes: Boxes
    classes: Classes
    ignored: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))


@dataclass(frozen=True)
class Problem:
    """One thing that was skipped, and why.

    Args:
        file: where it stands.
        where: place within the file (`line 3`, `annotation 17`), empty for the file as a whole.
        found: what was found.
        expected: what was expected instead.
    """

    file: Path
    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else str(self.file)
        return f"{place}: {self.found}; expected {self.expected}"


@dataclass
class Problems:
    """Collects problems, or raises on the first one when strict."""

    strict: bool = False
    found: list[Problem] = field(default_factory=list)

    def add(self, file: Path, where: str, found: str, expected: str) -> None:
        """Record one problem.

        Raises:
            DataError: strict, so the first problem ends the reading.
        """
        problem = Problem(file, where, found, expected)
        if self.strict:
            raise DataError(str(problem))
        self.found.append(problem)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that was read from one source.

    Args:
        source: the file or folder that was opened.
        names: class names, by class index.
        splits: samples per split (`train`, `val`, `test`), in the order of the source.
        problems: annotations and pictures that were skipped.
    """

    source: Path
    names: tuple[str, ...]
    splits: dict[str, list[Sample]]
    problems: list[Problem]


def as_boxes(rows: list[tuple[float, float, float, float]]) -> Boxes:
    """Rows of x1, y1, x2, y2 as an (n, 4) float32 array, also for n = 0."""
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def clip_box(
    x1: float, y1: float, x2: float, y2: float, width: int, height: int
) -> tuple[float, float, float, float] | str:
    """Clip a box to its picture.

    Args:
        x1: left edge in pixels; any float, also NaN, as the other three.
        y1: upper edge.
        x2: right edge.
        y2: lower edge.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        The clipped corners; or, where nothing usable is left, what was found, in words for a `Problem`.
    """
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        return "box with a coordinate that is not a number"
    if x2 <= x1 or y2 <= y1:
        return f"box without area ({x2 - x1:.4g} x {y2 - y1:.4g} pixels)"
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    # Below a hundredth of a pixel float32 corners of large pictures coincide.
    if right - left < 0.01 or bottom - top < 0.01:
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            corners = f"{x1:.6g}, {y1:.6g}, {x2:.6g}, {y2:.6g}"
            return f"box ({corners}) entirely outside the {width} x {height} picture"
        return f"box without area after clipping ({right - left:.4g} x {bottom - top:.4g} pixels)"
    return left, top, right, bottom
