"""YOLO folders and lists, with the `data.yaml` that Ultralytics and its exporters write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vision_lora.datasets.class_names import class_names
from vision_lora.datasets.coco import read_coco
from vision_lora.datasets.paths import Roots, image_files, is_there, readable_size
from vision_lora.datasets.safe_yaml import load_mapping
from vision_lora.datasets.sample import Box, Dataset, Problems, Sample, as_boxes
from vision_lora.errors import DataError

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}  # key in the yaml -> our name

_COLUMNS = "`class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon"


def read_yaml(path: Path, problems: Problems) -> Dataset:
    """Read a `data.yaml`: splits are folders, `.txt` lists, COCO JSON files, or lists of those.

    Args:
        path: the yaml; its `path` is relative to the yaml's own folder.
        problems: takes what is skipped.

    Raises:
        DataError: no names, no split, a split that does not exist, is empty or leaves the dataset's folder.
    """
    config = load_mapping(path)
    names = parse_names(config["names"], path, problems) if "names" in config else None
    base = config.get("path") or "."
    if not isinstance(base, str):
        raise DataError(f"{path}: `path` is {base!r}; expected one folder (a split may list several)")
    root = Path(os.path.normpath(path.parent / base))
    if not (is_there(root) and root.is_dir()):
        raise DataError(f"{path}: `path` names {root}, which is no folder; expected one relative to the yaml's own")
    reader = _SplitReader(path, Roots(root), names, problems)
    splits = {_SPLITS[key]: reader.read(key, config[key]) for key in _SPLITS if config.get(key)}
    if not splits:
        raise DataError(f"{path}: no split; expected at least one of `train:`, `val:`, `test:` with a folder or a list")
    return Dataset(path, reader.names, splits, problems.found, problems.mended)


def parse_names(value: Any, source: Path, problems: Problems) -> tuple[str, ...]:
    """Class names from a list or from a map of 0..N-1 to name.

    Raises:
        DataError: missing, with gaps, or with a name that is none, see `class_names`.
    """
    if isinstance(value, dict):
        try:
            numbered = {int(index): name for index, name in value.items()}
        except (TypeError, ValueError):
            raise DataError(
                f"{source}: `names` has keys {list(value)[:5]}; expected class numbers 0, 1, 2, ..."
            ) from None
        if sorted(numbered) != list(range(len(value))):
            raise DataError(
                f"{source}: `names` numbers its classes {sorted(numbered)[:10]}; expected 0 to {len(value) - 1}"
            )
        value = [numbered[index] for index in range(len(numbered))]
    if not isinstance(value, list) or not value:
        raise DataError(f"{source}: no `names`; expected a list of class names such as `names: [scratch, dent]`")
    return class_names(value, source, problems)


def label_path(image: Path) -> Path:
    """Where a picture's labels are: the last folder named `images` becomes `labels` (Ultralytics' rule)."""
    # The separator in front lets a relative path begin with `images`.
    before, found, after = f"{os.sep}{image}".rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{before}{os.sep}labels{os.sep}{after}"[1:] if found else image).with_suffix(".txt")


def read_images(
    images: list[Path], names: tuple[str, ...], roots: Roots, problems: Problems, source: Path
) -> list[Sample]:
    """Samples of pictures whose labels lie in YOLO files; a picture without a label file is a negative.

    Raises:
        DataError: none of the pictures has a label file.
    """
    samples, labelled = [], 0
    for image in images:
        size = readable_size(image, problems)
        if size is None:
            continue
        labels = label_path(image)
        if labels.is_file():
            labelled += 1
            if labels.is_symlink() and not roots.holds(labels):
                problems.add(labels, "", "a link that leaves the dataset's folder", "a file inside it")
                continue
        samples.append(_read_labels(image, labels, size, len(names), problems))
    if samples and not labelled:
        raise DataError(
            f"{source}: none of the {len(samples)} pictures has a label file; "
            f"expected for example {label_path(images[0])}"
        )
    return samples


class _SplitReader:
    """Reads one split after the other; without names in the yaml, the first COCO JSON gives them.

    Args:
        source: the yaml, for messages.
        roots: the folders that the dataset may use.
        names: class names, if the yaml has any.
        problems: takes what is skipped.
    """

    def __init__(self, source: Path, roots: Roots, names: tuple[str, ...] | None, problems: Problems) -> None:
        self._source = source
        self._roots = roots
        self._names = names
        self._problems = problems

    @property
    def names(self) -> tuple[str, ...]:
        """Class names.

        Raises:
            DataError: neither the yaml nor a COCO JSON has given any.
        """
        if self._names is None:
            raise DataError(
                f"{self._source}: no `names`; expected a list of class names such as `names: [scratch, dent]`"
            )
        return self._names

    def read(self, split: str, entry: Any) -> list[Sample]:
        """Samples of a split: a folder, a list, a COCO JSON, a mapping of `json` and `images`, or several of those."""
        samples: list[Sample] = []
        images: list[Path] = []
        for part in entry if isinstance(entry, list) else [entry]:
            folder = None
            if isinstance(part, dict) and set(part) == {"json", "images"}:
                folder = self._locate(split, part["images"])
                part = part["json"]
            path = self._locate(split, part)
            if path.suffix.lower() == ".json":
                self._names, found = read_coco(
                    path, self._problems, names=self._names, folder=folder, roots=self._roots
                )
                samples += found
            elif path.is_dir():
                images += image_files(path, self._roots, self._problems)
            else:
                images += _read_list(path, self._roots, self._problems)
        if images:
            samples += read_images(images, self.names, self._roots, self._problems, self._source)
        if not samples:
            raise DataError(f"{self._source}: split `{split}` ({entry}) has no usable picture; expected at least one")
        return samples

    def _locate(self, split: str, text: Any) -> Path:
        """The file or folder that a split's entry names, inside the roots."""
        expected = "expected a folder, a .txt list, a COCO .json, or a mapping of `json` and `images`"
        if not isinstance(text, str) or "\0" in text:
            raise DataError(f"{self._source}: `{split}` holds {text!r}; {expected}")
        path = Path(text)
        if path.is_absolute():
            self._roots.add(path if is_there(path) and path.is_dir() else path.parent)
        else:
            path = Path(os.path.normpath(self._roots.first / text))
            inside = Path(os.path.normpath(self._roots.first / text.removeprefix("../")))
            if text.startswith("../") and not self._roots.holds(path) and is_there(inside):
                path = inside  # Roboflow writes `../train/images` and means `train/images`; Ultralytics reads it so too
            self._roots.require(path, self._source)
        if not is_there(path):
            raise DataError(f"{self._source}: `{split}` names {path}, which does not exist; {expected}")
        return path


def _read_list(path: Path, roots: Roots, problems: Problems) -> list[Path]:
    """Pictures of a `.txt` list: one a line, `./` relative to the list's folder, others to the dataset's."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; expected a list with one picture a line") from None
    images = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        base = path.parent if text.startswith("./") else roots.first
        image = Path(os.path.normpath(base / text))
        if "\0" in text or not roots.holds(image):
            problems.add(path, f"line {number}", f"{text!r}, which leaves the dataset's folder", "a picture inside it")
        else:
            images.append(image)
    return images


def _read_labels(image: Path, labels: Path, size: tuple[int, int], classes: int, problems: Problems) -> Sample:
    boxes, ids = [], []
    expected = f"a class of 0 to {classes - 1} and {_COLUMNS}, relative to the picture's size (0 to 1)"
    try:
        lines = labels.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        lines = []
    except UnicodeDecodeError:
        lines = []
        problems.add(labels, "", "bytes that are no text", f"lines of {_COLUMNS}")
    for number, line in enumerate(lines, start=1):
        columns = line.split()
        if not columns:
            continue
        row = _parse_row(columns, size, classes)
        if isinstance(row, str):
            problems.add(labels, f"line {number}", row, expected)
            continue
        box = problems.usable(row[1], size, labels, f"line {number}", expected)
        if box is not None:
            ids.append(row[0])
            boxes.append(box)
    return Sample(image, *size, as_boxes(boxes), np.array(ids, np.int64))


def _parse_row(columns: list[str], size: tuple[int, int], classes: int) -> tuple[int, Box] | str:
    """Class and corners in pixels, or what was found instead."""
    width, height = size
    if len(columns) != 5 and (len(columns) < 7 or len(columns) % 2 == 0):
        return f"{len(columns)} columns"
    try:
        number, *values = map(float, columns)
    except ValueError:
        return f"{' '.join(columns)[:60]!r}, not all numbers"
    if not number.is_integer() or not 0 <= number < classes:
        return f"class {columns[0]}"
    if len(values) == 4:
        cx, cy, w, h = values
        if w <= 0 or h <= 0:
            return f"width {w:g}, height {h:g}"
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        x1, y1, x2, y2 = min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
    return int(number), (x1 * width, y1 * height, x2 * width, y2 * height)
