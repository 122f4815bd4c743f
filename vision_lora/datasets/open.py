"""One way in: recognise what a path holds and read it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vision_lora.datasets.formats.json_file import note_unlisted, read_json
from vision_lora.datasets.formats.paths import A_PICTURE, Roots, is_there, not_needed, picture_size, walk
from vision_lora.datasets.formats.unnamed import Unnamed, find_unnamed
from vision_lora.datasets.formats.voc import find_voc, read_voc
from vision_lora.datasets.formats.yolo import find_bare, read_bare, read_yaml
from vision_lora.datasets.sample import Dataset, Problems, Sample
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

_EXPECTED = (
    "expected a data.yaml, a JSON of COCO or Label Studio, or a folder that holds one of them, Pascal VOC's .xml "
    "files, or `images`, `labels` and classes.txt"
)
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLITS |= {"test": "test", "testing": "test"}
_YAMLS = ("data.yaml", "defects.yaml", "dataset.yaml", "data.yml")


def open_dataset(path: Path | str, *, strict: bool = False) -> Dataset:
    """Open a dataset, whatever its format.

    Args:
        path: a YOLO `data.yaml` (its splits may also name JSON files), a JSON of COCO's or Label Studio's, or a folder
            with one of them, with several JSON files whose names tell the split, with Pascal VOC annotations, or with
            `images`, `labels` and `classes.txt`.
        strict: stop at the first broken annotation or picture instead of skipping it.

    Returns:
        The dataset; what was skipped is in its `problems` and counted in the log. What could mean two things is in
        its `doubts`: verbs go on only with `open_dataset(...).sure()`.

    Raises:
        DataError: nothing there, nothing recognised, nothing usable in a split, or strict and something is broken.

    Examples:
        >>> data = open_dataset("shared/datasets/neu-det/data.yaml")  # doctest: +SKIP
        >>> data.names[0], len(data.splits["train"])  # doctest: +SKIP
        ('crazing', 1260)
    """
    path = Path(path)
    if not is_there(path):
        raise DataError(f"{path}: no such file or folder; {_EXPECTED}")
    dataset = _reader(path)(Problems(strict))
    if dataset.problems:
        log.warning(
            "%s: skipped %d broken pictures or annotations; the first: %s",
            path,
            len(dataset.problems),
            dataset.problems[0],
        )
    if dataset.doubts:
        log.warning("%s", dataset.doubts[0])
    if dataset.balance.files.get("left out") or any(dataset.balance.lost):
        log.warning("%s: not everything is used (`check` tells all): %s", path, dataset.balance)
    return dataset


def open_pictures(folder: Path | str) -> list[Sample]:
    """All pictures in a folder and its subfolders, without labels; broken ones are left out and counted in the log.

    Raises:
        DataError: no such folder, or no picture that can be read in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with pictures")
    problems, samples, roots = Problems(), [], Roots(folder)
    for file in walk(folder, problems):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            size = picture_size(file, roots)
            if isinstance(size, str):
                problems.add(file, "", size, A_PICTURE)
            else:
                samples.append(Sample(file, *size, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    if not samples:
        raise problems.ending(f"{folder}: no picture in it that can be read, such as a .jpg or a .png")
    if problems.found:
        log.warning("%s: skipped %d pictures; the first: %s", folder, len(problems.found), problems.found[0])
    return samples


def lacking_yaml(path: Path | str) -> Unnamed | None:
    """A folder that would be a dataset if it had a `data.yaml`; None where it is one, or nothing of the kind."""
    folder = Path(path)
    return find_unnamed(folder) if folder.is_dir() and _folder_reader(folder) is None else None


Reader = Callable[[Problems], Dataset]


def _reader(path: Path) -> Reader:
    """How to read what `path` holds."""
    if path.is_dir():
        reader = _folder_reader(path)
        if reader is None:
            if (unnamed := find_unnamed(path)) is not None:
                raise unnamed.error()
            there = ", ".join(sorted(file.name for file in path.iterdir())[:5]) or "nothing"
            raise DataError(f"{path}: nothing recognised in this folder (it holds {there}); {_EXPECTED}")
        return reader
    if path.suffix.lower() in (".yaml", ".yml"):
        return lambda problems: read_yaml(path, problems)
    if path.suffix.lower() == ".json":
        return lambda problems: _read_jsons(path, {"train": path}, problems)
    raise DataError(f"{path}: a {path.suffix or 'nameless'} file; {_EXPECTED}")


def _folder_reader(path: Path) -> Reader | None:
    """How to read what a folder holds; None where nothing in it is recognised."""
    yamls = {file.name.lower(): file for file in _files(path, ".yaml", ".yml")}
    for name in _YAMLS:
        if name in yamls:
            return lambda problems: read_yaml(yamls[name], problems)
    if jsons := _json_splits(path):
        return lambda problems: _read_jsons(path, jsons, problems)
    if splits := find_voc(path):
        return lambda problems: read_voc(path, splits, problems)
    if listed := find_bare(path):
        return lambda problems: read_bare(path, listed, problems)
    return None


def _files(folder: Path, *endings: str) -> list[Path]:
    """Files of a folder with one of the endings, in whatever case; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in endings)


def _json_splits(folder: Path) -> dict[str, Path]:
    """JSON files by the split that their name, or else their folder's, tells; `train` where none does.

    Raises:
        DataError: two files for one split.
    """
    homes = [folder, *(folder / name for name in ("annotations", "train", "val", "valid", "test"))]
    found: dict[str, Path] = {}
    for file in sorted(file for home in homes for file in _files(home, ".json") if not not_needed(file.name)):
        texts = [file.stem] if file.parent == folder else [file.stem, file.parent.name]
        told = [_SPLITS[word] for text in texts for word in _words(text) if word in _SPLITS]
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
    """JSON files of one dataset; the first one names the classes."""
    names: tuple[str, ...] | None = None
    splits: dict[str, list[Sample]] = {}
    for split in sorted(files, key=["train", "val", "test"].index):
        before = len(problems.found)
        names, splits[split] = read_json(files[split], problems, names=names)
        if not splits[split]:
            raise problems.ending(f"{files[split]}: no usable picture", before)
    note_unlisted([sample for split in splits.values() for sample in split], problems)
    return problems.dataset(source, names or (), splits)
