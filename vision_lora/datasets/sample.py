"""The one type behind every dataset format: a picture with its boxes, and what was wrong on the way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.balance import Balance, Ledger
from vision_lora.errors import DataError
from vision_lora.pictures.images import read_image
from vision_lora.text.names import suggestion

Boxes = NDArray[np.float32]
Classes = NDArray[np.int64]
Scores = NDArray[np.float32]
Box = tuple[float, float, float, float]


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
        ignored_classes: what each of those regions holds; for the other classes it is background, (m,) int64.
        window: x1, y1, x2, y2 of the part of the file's picture that this sample is, a tile; None for all of it. Boxes,
            width and height are the part's.
        areas: how large each object is by its outline, square pixels, (n,) float64; None where only boxes are known.

    Raises:
        ValueError: boxes and classes, regions and theirs, or boxes and areas differ in number.
    """

    path: Path
    width: int
    height: int
    boxes: Boxes
    classes: Classes
    ignored: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    ignored_classes: Classes = field(default_factory=lambda: np.zeros(0, np.int64))
    window: tuple[int, int, int, int] | None = None
    areas: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        areas = self.boxes if self.areas is None else self.areas
        for boxes, values in ((self.boxes, self.classes), (self.ignored, self.ignored_classes), (self.boxes, areas)):
            if len(boxes) != len(values):
                raise ValueError(f"{self.path}: {len(boxes)} boxes, {len(values)} classes or areas; expected one a box")

    @property
    def hidden(self) -> bool:
        """Whether it is to be ignored as a whole: objects are somewhere in it, and no box says where."""
        whole = (0, 0, self.width, self.height)
        return not len(self.boxes) and bool((self.ignored == whole).all(1).any())

    def read(self) -> NDArray[np.uint8]:
        """The picture, (height, width, 3) uint8 RGB.

        Raises:
            DataError: it cannot be decoded.
        """
        if self.window is None:
            return read_image(self.path)
        x1, y1, x2, y2 = self.window
        return _frame(self.path)[y1:y2, x1:x2]


@dataclass(frozen=True)
class Problem:
    """One thing that was skipped, and why.

    Args:
        file: where it stands.
        where: place within the file (`line 3`, `annotation 17`), empty for the file as a whole.
        found: what was found.
        expected: what was expected instead.
        boxes: how many boxes are skipped with it.
    """

    file: Path
    where: str
    found: str
    expected: str
    boxes: int = 0

    def __str__(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else str(self.file)
        more = f" (with {self.boxes} boxes)" if self.boxes > 1 else ""
        return f"{place}: {self.found}{more}; expected {self.expected}"


@dataclass
class Problems:
    """Collects what was wrong, and keeps the ledger of all files and boxes.

    Strict, the first thing skipped is raised.

    Attributes:
        found: what was skipped.
        mended: what was kept after a change.
        noted: what is no mistake by itself but should be known, such as files that nothing names.
        doubts: what could mean two things, see `Dataset.sure`.
        ledger: what became of every file.
    """

    strict: bool = False
    found: list[Problem] = field(default_factory=list)
    mended: list[Problem] = field(default_factory=list)
    noted: list[Problem] = field(default_factory=list)
    doubts: list[Problem] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def add(
        self, file: Path, where: str, found: str, expected: str, *, boxes: int = 0, files: Iterable[Path | str] = ()
    ) -> None:
        """Record one thing that is skipped.

        Args:
            file: where it stands; skipped itself where `where` is empty.
            where: place within the file.
            found: what was found.
            expected: what was expected instead.
            boxes: how many boxes are skipped with it.
            files: further files that are skipped with it.

        Raises:
            DataError: strict, so the first problem ends the reading.
        """
        problem = Problem(file, where, found, expected, boxes)
        if self.strict:
            raise DataError(str(problem))
        self.found.append(problem)
        for skipped in (*files, *(() if where else (file,))):
            self.ledger.settle(skipped, "skipped")

    def doubt(self, file: Path, where: str, found: str, expected: str) -> None:
        """Record what could mean two things: one of them is read, and nobody should go on with it."""
        self.doubts.append(Problem(file, where, found, expected))

    def leave(self, file: Path, found: str, expected: str) -> None:
        """Record a file that the dataset does not name, so that it is left out."""
        self.noted.append(Problem(file, "", found, expected))
        self.ledger.settle(file, "left out")

    def leave_together(self, folder: Path, files: Sequence[Path], found: str, expected: str) -> None:
        """Record pictures of a folder that the dataset does not name, in one line."""
        if files:
            self.noted.append(Problem(folder, "", f"{len(files)} pictures {found}", expected))
        for file in files:
            self.ledger.settle(file, "left out")

    def ending(self, text: str, since: int = 0) -> DataError:
        """The error for a run that ends because nothing is left: with the first reason, and how many there are.

        Args:
            text: what is empty.
            since: number of problems there were when the reading of it began: older ones are not its reasons.
        """
        reasons = self.found[since:] or self.noted
        told = f" ({len(reasons)} reasons, the first: {reasons[0]})" if reasons else ""
        return DataError(f"{text}; expected at least one{told}")

    def dataset(self, source: Path, names: Sequence[str], splits: dict[str, list[Sample]]) -> Dataset:
        """Close the ledger over what was read."""
        everything = [sample for samples in splits.values() for sample in samples]
        for sample in everything:
            self.ledger.settle(sample.path, "used")
        balance = self.ledger.balance(
            {
                "used": sum(len(sample.boxes) for sample in everything),
                "ignored": sum(len(sample.ignored) for sample in everything),
                "skipped": sum(problem.boxes for problem in self.found),
            }
        )
        return Dataset(source, tuple(names), splits, self.found, self.mended, self.noted, balance, self.doubts)

    def usable(self, box: Box, size: tuple[int, int], file: Path, where: str, expected: str) -> Box | None:
        """A box cut to its picture; None and a problem where nothing usable is left of it.

        Args:
            box: corners x1, y1, x2, y2 in pixels; any float, also NaN.
            size: width and height of the picture in pixels.
            file: where the box stands.
            where: place within the file.
            expected: what a box there should be.
        """
        clipped = _clip(box, size)
        if isinstance(clipped, str):
            self.add(file, where, clipped, expected, boxes=1)
            return None
        beyond = max(abs(old - new) for old, new in zip(box, clipped, strict=True))
        if beyond > 1:  # less is rounding
            self.mended.append(Problem(file, where, f"box {beyond:.4g} pixels beyond the picture", f"{expected} (cut)"))
        return clipped


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that was read from one source.

    Args:
        source: the file or folder that was opened.
        names: class names, by class index.
        splits: samples per split (`train`, `val`, `test`), in the order of the source.
        problems: annotations and pictures that were skipped.
        mended: annotations that were kept after a change (cut to the picture).
        noted: no mistakes, but worth knowing: files that were left out, pictures without labels.
        balance: what became of every file and box that was found.
        doubts: what could mean two things, see `sure`.
    """

    source: Path
    names: tuple[str, ...]
    splits: dict[str, list[Sample]]
    problems: list[Problem]
    mended: list[Problem] = field(default_factory=list)
    noted: list[Problem] = field(default_factory=list)
    balance: Balance = field(default_factory=Balance)
    doubts: list[Problem] = field(default_factory=list)

    def sure(self) -> Dataset:
        """This dataset, where nothing in it could mean two things: nobody should learn or be measured on a guess.

        Raises:
            DataError: a key stands twice in its yaml, of which only the first was read.
        """
        if self.doubts:
            raise DataError(str(self.doubts[0]))
        return self

    def only(self, names: Sequence[str]) -> Dataset:
        """The same pictures with some of the classes, in the dataset's order; objects of the others are background.

        Raises:
            DataError: no name, or one that the dataset does not have.

        Examples:
            >>> sample = Sample(Path("a.png"), 9, 9, as_boxes([(0, 0, 5, 5), (1, 1, 9, 9)]), np.array([0, 2]))
            >>> data = Dataset(Path("d.yaml"), ("pit", "stain", "dent"), {"train": [sample]}, []).only(["dent"])
            >>> data.names, data.splits["train"][0].boxes.tolist(), data.splits["train"][0].classes.tolist()
            (('dent',), [[1.0, 1.0, 9.0, 9.0]], [0])
        """
        unknown = [name for name in names if name not in self.names]
        if unknown or not names:
            told = suggestion(unknown[0], self.names) if unknown else "(nothing)"
            raise DataError(f"{self.source}: no class {told}; expected some of {', '.join(self.names)}")
        kept = [index for index, name in enumerate(self.names) if name in names]
        place = np.full(len(self.names), -1)
        place[kept] = np.arange(len(kept))

        def cut(sample: Sample) -> Sample:
            classes, regions = place[sample.classes], place[sample.ignored_classes]
            return replace(
                sample,
                boxes=sample.boxes[classes >= 0],
                classes=classes[classes >= 0],
                ignored=sample.ignored[regions >= 0],
                ignored_classes=regions[regions >= 0],
                areas=None if sample.areas is None else sample.areas[classes >= 0],
            )

        splits = {split: [cut(sample) for sample in samples] for split, samples in self.splits.items()}
        return replace(self, names=tuple(self.names[index] for index in kept), splits=splits)


def as_boxes(rows: list[Box]) -> Boxes:
    """Rows of x1, y1, x2, y2 as an (n, 4) float32 array, also for n = 0."""
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


@lru_cache(maxsize=4)
def _frame(path: Path) -> NDArray[np.uint8]:
    """A large frame, decoded once for all of its tiles that are read in a row."""
    return read_image(path)


def _clip(box: Box, size: tuple[int, int]) -> Box | str:
    """The box cut to its picture; or, where nothing usable is left, what was found, in words for a `Problem`."""
    x1, y1, x2, y2 = box
    width, height = size
    if not all(map(math.isfinite, box)):
        return "box with a coordinate that is not a number"
    if x2 <= x1 or y2 <= y1:
        return f"box without area ({x2 - x1:.4g} x {y2 - y1:.4g} pixels)"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return f"box ({x1:.6g}, {y1:.6g}, {x2:.6g}, {y2:.6g}) entirely outside the {width} x {height} picture"
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    # Below a hundredth of a pixel float32 corners of large pictures coincide.
    if right - left < 0.01 or bottom - top < 0.01:
        return f"box without area in the picture ({right - left:.4g} x {bottom - top:.4g} pixels)"
    return left, top, right, bottom


def own_size(samples: Sequence[Sample]) -> int:
    """Side at which most pictures keep their detail, pixels: a multiple of 32, from 320, for small ones, to 640.

    Examples:
        >>> own_size([Sample(Path("a.png"), 500, 333, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))])
        512
    """
    longer = float(np.median([max(sample.width, sample.height) for sample in samples]))
    return min(640, max(320, math.ceil(longer / 32) * 32))
