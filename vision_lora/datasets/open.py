"""One way in: recognise what a path holds and read it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vision_lora.datasets.coco import read_coco
from vision_lora.datasets.sample import Dataset, Problems, Sample
from vision_lora.datasets.voc import find_voc, read_voc
from vision_lora.datasets.yolo import read_yaml
from vision_lora.errors import DataError
from vision_lora.images import IMAGE_SUFFIXES, image_size

log = logging.getLogger(__name__)

_EXPECTED = "expected a data.yaml, a COCO .json, or a folder that holds one of them or Pascal VOC's .xml files"
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLITS |= {"test": "test", "testing": "test"}
_YAMLS = ("data.yaml", "defects.yaml", "dataset.yaml", "data.yml")


def open_dataset(path: Path | str, *, strict: bool = False) -> Dataset:
    """Open a dataset, whatever its format.

    Args:
        path: a YOLO `data.yaml` (its splits may also name COCO JSON files), a COCO JSON, or a folder with one of them,
            with several COCO JSON files whose names tell the split, or with Pascal VOC annotations.
        strict: stop at the first broken annotation or picture instead of skipping it.

    Returns:
        The dataset; what was skipped is in its `problems` and counted in the log.

    Raises:
        DataError: nothing there, nothing recognised, nothing usable in a split, or strict and something is broken.

    Examples:
        >>> data = open_dataset("shared/datasets/neu-det/data.yaml")  # doctest: +SKIP
        >>> data.names[0], len(data.splits["train"])  # doctest: +SKIP
        ('crazing', 1260)
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {_EXPECTED}")
    dataset = _reader(path)(Problems(strict))
    if dataset.problems:
        log.warning(
            "%s: skipped %d broken pictures or annotations; the first: %s",
            path,
            len(dataset.problems),
            dataset.problems[0],
        )
    return dataset


def open_pictures(folder: Path | str) -> list[Sample]:
    """All pictures in a folder and its subfolders, without labels; broken ones are left to the loader.

    Raises:
        DataError: no such folder, or no picture that can be read in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with pictures")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    samples = []
    for file in files:
        width, height = image_size(file)
        samples.append(Sample(file, width, height, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    if not samples:
        raise DataError(f"{folder}: no picture in it; expected files such as .jpg or .png")
    return samples


def _reader(path: Path) -> Callable[[Problems], Dataset]:
    """How to read what `path` holds."""
    if path.is_dir():
        for name in _YAMLS:
            if (path / name).is_file():
                return lambda problems: read_yaml(path / name, problems)
        jsons = _json_splits(path)
        if jsons:
            return lambda problems: _read_jsons(path, jsons, problems)
        splits = find_voc(path)
        if splits:
            return lambda problems: read_voc(path, splits, problems)
        raise DataError(f"{path}: nothing recognised in this folder; {_EXPECTED}")
    if path.suffix.lower() in (".yaml", ".yml"):
        return lambda problems: read_yaml(path, problems)
    if path.suffix.lower() == ".json":
        return lambda problems: _read_jsons(path, {"train": path}, problems)
    raise DataError(f"{path}: a {path.suffix or 'nameless'} file; {_EXPECTED}")


def _json_splits(folder: Path) -> dict[str, Path]:
    """COCO JSON files by the split that their name, or else their folder's, tells; `train` where none does.

    Raises:
        DataError: two files for one split.
    """
    files = [*folder.glob("*.json"), *folder.glob("annotations/*.json")]
    files += [file for name in ("train", "val", "valid", "test") for file in folder.glob(f"{name}/*.json")]
    found: dict[str, Path] = {}
    for file in sorted(files):
        told = [_SPLITS[word] for text in (file.stem, file.parent.name) for word in _words(text) if word in _SPLITS]
        split = told[0] if told else "train"
        if split in found:
            raise DataError(
                f"{folder}: {found[split].name} and {file.name} are both `{split}`; expected one .json a split"
            )
        found[split] = file
    return found


def _words(text: str) -> list[str]:
    """The words of a file's name: `instances_train2017` tells of a train split, `latest` of none."""
    return re.findall(r"[a-z]+", text.lower())


def _read_jsons(source: Path, files: dict[str, Path], problems: Problems) -> Dataset:
    """COCO JSON files of one dataset; the first one names the classes."""
    names: tuple[str, ...] | None = None
    splits: dict[str, list[Sample]] = {}
    for split in sorted(files, key=["train", "val", "test"].index):
        names, splits[split] = read_coco(files[split], problems, names=names)
        if not splits[split]:
            raise DataError(f"{files[split]}: no usable picture; expected at least one")
    return Dataset(source, names or (), splits, problems.found, problems.mended)
