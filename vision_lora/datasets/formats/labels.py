"""YOLO's label files: where they are, what stands in them, and which of them belong to no picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from vision_lora.datasets.formats.paths import A_PICTURE, Roots, not_needed, picture_size, walk
from vision_lora.datasets.sample import Box, Problem, Problems, Sample, as_boxes
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.system.files import LABEL_BYTES, irregular, read_text

_COLUMNS = "`class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon"

Row = tuple[int, list[str]]  # number of the line, and its columns


def label_path(image: Path) -> Path:
    """Where a picture's labels are: the last folder named `images` becomes `labels` (Ultralytics' rule)."""
    # The separator in front lets a relative path begin with `images`.
    before, found, after = f"{os.sep}{image}".rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{before}{os.sep}labels{os.sep}{after}"[1:] if found else image).with_suffix(".txt")


class Labels:
    """Reads pictures with their label files; a picture without one is a negative.

    Args:
        roots: the folders that the dataset may use.
        keypoints: columns of key points behind each box (pose datasets); only the box is taken.
        problems: takes what is skipped.
    """

    def __init__(self, roots: Roots, keypoints: int, problems: Problems) -> None:
        self._roots = roots
        self._keypoints = keypoints
        self._problems = problems
        self._by_folder: dict[Path, dict[str, Path]] = {}

    def read(self, images: Sequence[Path], classes: int) -> tuple[list[Sample], int]:
        """Samples of the pictures that can be used, and how many of them have a label file."""
        samples, bare, ledger = [], [], self._problems.ledger
        for image in images:
            ledger.see(image)
            labels = self._find(image)
            rows = _rows(labels, self._roots) if labels is not None else []
            if isinstance(rows, str):
                self._problems.add(labels or image, "", rows, f"lines of {_COLUMNS}", files=[image])
                continue
            ledger.boxes += len(rows)
            size = picture_size(image, self._roots)
            if isinstance(size, str):
                files = [] if labels is None else [labels]
                self._problems.add(image, "", size, A_PICTURE, boxes=len(rows), files=files)
                continue
            if labels is None:
                bare.append(Problem(image, "", "no label file, so it counts as background", "an empty file for it"))
            else:
                ledger.settle(labels, "used")
            samples.append(self._sample(image, labels or image, rows, size, classes))
        self._problems.noted += bare
        return samples, len(samples) - len(bare)

    def classes(self, image: Path) -> set[int] | None:
        """Class numbers in a picture's label file, as far as it can be read; None where there is no such file."""
        labels = self._find(image)
        if labels is None:
            return None
        rows = _rows(labels, self._roots)
        columns = [] if isinstance(rows, str) else [columns for _, columns in rows if _is_label(columns)]
        numbers = (float(first) for first, *_ in columns)
        return {int(number) for number in numbers if number.is_integer() and number >= 0}

    def _find(self, image: Path) -> Path | None:
        """The label file of a picture; its ending may be written in capitals."""
        path = label_path(image)
        files = self._by_folder.get(path.parent)
        if files is None:
            files = self._by_folder[path.parent] = self._files(path.parent)
        return files.get(path.stem)

    def _files(self, folder: Path) -> dict[str, Path]:
        """Label files of a folder by the stem of their name."""
        if not folder.is_dir():
            return {}
        if not self._roots.holds(folder):
            self._problems.add(folder, "", "a link that leaves the dataset's folder", "a folder inside it")
            return {}
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".txt") and not not_needed(name))
        return {name[: -len(".txt")]: folder / name for name in names}  # sorted: .txt comes last, and wins over .TXT

    def _sample(self, image: Path, labels: Path, rows: Sequence[Row], size: tuple[int, int], classes: int) -> Sample:
        boxes, ids = [], []
        what = f"`class cx cy w h` and {self._keypoints} numbers of key points" if self._keypoints else _COLUMNS
        expected = f"a class of 0 to {classes - 1} and {what}, relative to the picture's size (0 to 1)"
        for number, columns in rows:
            row = _parse_row(columns, size, classes, self._keypoints)
            if isinstance(row, str):
                self._problems.add(labels, f"line {number}", row, expected, boxes=1)
                continue
            box = self._problems.usable(row[1], size, labels, f"line {number}", expected)
            if box is not None:
                ids.append(row[0])
                boxes.append(box)
        return Sample(image, *size, as_boxes(boxes), np.array(ids, np.int64))


def leftovers(folder: Path, problems: Problems) -> None:
    """Tell what lies among the pictures and the labels of a split and is neither, once the split is read.

    Labels without a picture are problems: the picture is missing, or has an ending that is not read.
    """
    place = label_path(folder / "x").parent
    unread: dict[str, str] = {}
    for path in chain(walk(folder, problems), walk(place, problems) if place != folder and place.is_dir() else ()):
        is_picture = path.suffix.lower() in IMAGE_SUFFIXES
        if is_picture and folder in path.parents:
            continue
        rows = _rows(path, Roots(path.parent)) if path.suffix.lower() == ".txt" else "a file that is not read"
        if isinstance(rows, str) or not rows or not _is_label(rows[0][1]):
            unread[path.stem] = path.name
            problems.leave(path, rows if isinstance(rows, str) else "a text that is no label", "pictures and labels")
            continue
        problems.ledger.boxes += len(rows)
        if folder in path.parents and place != folder:
            found, expected = "labels beside the pictures, where they are not read", f"them in {place}"
        else:
            beside = f" that is read ({unread[path.stem]} lies there)" if path.stem in unread else ""
            found, expected = f"labels without a picture{beside}", f"{path.stem}.jpg or another picture in {folder}"
        problems.add(path, "", found, expected, boxes=len(rows))


def unnamed_folders(folders: Sequence[Path], roots: Roots, problems: Problems) -> None:
    """Tell where pictures lie beside those of the splits, in folders that no split names."""
    top = Path(os.path.commonpath(folders)) if len(set(folders)) > 1 else folders[0].parent
    if not roots.holds(top):
        return
    for here, inner, files in os.walk(top):
        inner[:] = sorted(name for name in inner if not not_needed(name) and Path(here, name) not in folders)
        if Path(here) in folders:
            continue
        pictures = [Path(here, name) for name in sorted(files) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
        pictures = [path for path in pictures if not not_needed(path.name) and not problems.ledger.knows(path)]
        problems.leave_together(Path(here), pictures, "that no split names", "a split that names the folder")


def _rows(labels: Path, roots: Roots) -> list[Row] | str:
    """The lines of a label file that hold something; or what was found instead."""
    if os.path.islink(labels) and not roots.holds(labels):
        return "a link that leaves the dataset's folder"
    if found := irregular(labels):
        return found
    try:
        lines = read_text(labels, LABEL_BYTES).splitlines()
    except DataError as error:
        return str(error).removeprefix(f"{labels}: ")
    return [(number, columns) for number, line in enumerate(lines, start=1) if (columns := line.split())]


def _is_label(columns: list[str]) -> bool:
    """Whether a line looks like a box, whatever its numbers mean."""
    try:
        return len([float(column) for column in columns]) >= 5
    except ValueError:
        return False


def _parse_row(columns: list[str], size: tuple[int, int], classes: int, keypoints: int) -> tuple[int, Box] | str:
    """Class and corners in pixels, or what was found instead."""
    width, height = size
    if keypoints:
        sound = len(columns) in (5, 5 + keypoints)
    else:
        sound = len(columns) == 5 or (len(columns) >= 7 and len(columns) % 2 == 1)
    if not sound:
        saved = ": a confidence behind the box, as in saved predictions?" if len(columns) == 6 else ""
        return f"{len(columns)} columns{saved}"
    try:
        number, *values = map(float, columns)
    except ValueError:
        return f"{' '.join(columns)[:60]!r}, not all numbers"
    if not number.is_integer() or not 0 <= number < classes:
        return f"class {columns[0]}"
    if keypoints or len(values) == 4:
        cx, cy, w, h = values[:4]
        if w <= 0 or h <= 0:
            return f"width {w:g}, height {h:g}"
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        x1, y1, x2, y2 = min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
    return int(number), (x1 * width, y1 * height, x2 * width, y2 * height)
