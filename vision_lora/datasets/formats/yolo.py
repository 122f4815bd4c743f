"""YOLO folders and lists, with the `data.yaml` that Ultralytics and its exporters write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vision_lora.datasets.formats.class_names import class_names
from vision_lora.datasets.formats.json_file import note_unlisted, read_json
from vision_lora.datasets.formats.labels import Labels, label_path, leftovers, unnamed_folders
from vision_lora.datasets.formats.paths import Roots, is_there, walk
from vision_lora.datasets.safe_yaml import load_mapping
from vision_lora.datasets.sample import Dataset, Problems, Sample
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.system.files import INDEX_BYTES, LABEL_BYTES, read_text

SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}  # key in the yaml -> our name


def read_yaml(path: Path, problems: Problems) -> Dataset:
    """Read a `data.yaml`: splits are folders, `.txt` lists, COCO JSON files, or lists of those.

    Args:
        path: the yaml; its `path` is relative to the yaml's own folder.
        problems: takes what is skipped.

    Raises:
        DataError: no names, no split, a split that does not exist, is empty or leaves the dataset's folder.
    """
    config = load_mapping(path, lambda where, found: problems.doubt(path, where, found, "each key once"))
    names = parse_names(config["names"], path, problems) if "names" in config else None
    base = config.get("path") or "."
    if not isinstance(base, str):
        raise DataError(f"{path}: `path` is {base!r}; expected one folder (a split may list several)")
    root = Path(os.path.normpath(path.parent / base))
    if not (is_there(root) and root.is_dir()):
        raise DataError(f"{path}: `path` names {root}, which is no folder; expected one relative to the yaml's own")
    entries = {key: config[key] for key in SPLITS if config.get(key)}
    if not entries:
        raise DataError(f"{path}: no split; expected at least one of `train:`, `val:`, `test:` with a folder or a list")
    reader = _SplitReader(path, Roots(root), names, _keypoint_columns(config.get("kpt_shape"), path), problems)
    return reader.dataset(entries)


def find_bare(folder: Path) -> Path | None:
    """The file that names the classes of `images` and `labels` where no yaml does, as Label Studio exports them."""
    if not ((folder / "images").is_dir() and (folder / "labels").is_dir()):
        return None
    return next((folder / name for name in ("classes.txt", "notes.json") if (folder / name).is_file()), None)


def read_bare(folder: Path, listed: Path, problems: Problems) -> Dataset:
    """Read `images` and `labels` whose classes stand in `classes.txt` or `notes.json`; all is `train`, or its folders.

    Raises:
        DataError: no names, or a split that is empty.
    """
    text = read_text(listed, LABEL_BYTES)
    if listed.suffix == ".json":
        try:
            names = [row["name"] for row in sorted(json.loads(text)["categories"], key=lambda row: row["id"])]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DataError(f"{listed}: no names; expected `categories` with `id` and `name`") from None
    else:
        names = [line.strip() for line in text.split("\n") if line.strip()]
    entries = {key: f"images/{key}" for key in SPLITS if (folder / "images" / key).is_dir()}
    return read_entries(listed, folder, parse_names(names, listed, problems), entries or {"train": "images"}, problems)


def read_entries(
    source: Path, folder: Path, names: tuple[str, ...], entries: dict[str, Any], problems: Problems
) -> Dataset:
    """Read what a yaml with these entries would name.

    Args:
        source: what stands for the yaml, for messages.
        folder: the dataset's.
        names: of the classes.
        entries: by split, as in a yaml.
        problems: takes what is skipped.

    Raises:
        DataError: a split that does not exist, is empty or leaves the folder.
    """
    return _SplitReader(source, Roots(folder), names, 0, problems).dataset(entries)


def _keypoint_columns(shape: Any, source: Path) -> int:
    """Columns of key points behind each box, from a pose dataset's `kpt_shape`; 0 where there is none."""
    if shape is None:
        return 0
    if not isinstance(shape, list) or [type(n) for n in shape] != [int, int] or shape[0] < 1 or shape[1] not in (2, 3):
        raise DataError(f"{source}: `kpt_shape` is {shape!r}; expected [number of key points, 2 or 3]")
    return int(shape[0] * shape[1])


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


class _SplitReader:
    """Reads one split after the other; without names in the yaml, the first COCO JSON gives them.

    Args:
        source: the yaml, for messages.
        roots: the folders that the dataset may use.
        names: class names, if the yaml has any.
        keypoints: columns of key points behind each box.
        problems: takes what is skipped.
    """

    def __init__(
        self, source: Path, roots: Roots, names: tuple[str, ...] | None, keypoints: int, problems: Problems
    ) -> None:
        self._source = source
        self._roots = roots
        self._names = names
        self._labels = Labels(roots, keypoints, problems)
        self._problems = problems
        self._folders: list[Path] = []  # those of the splits
        self._from_json: list[Sample] = []
        self._lists = False

    def dataset(self, entries: dict[str, Any]) -> Dataset:
        """Everything that the entries of the splits name, and what lies beside it.

        Raises:
            DataError: no names, or a split that does not exist, is empty or leaves the dataset's folder.
        """
        if {"val", "valid"} <= entries.keys() and entries["val"] != entries["valid"]:
            raise DataError(f"{self._source}: both `val` and `valid`; expected one of them")
        splits = {SPLITS[key]: self._read(key, entry) for key, entry in entries.items()}
        if self._folders and not (self._lists or self._from_json):  # a list leaves pictures out on purpose
            unnamed_folders(self._folders, self._roots, self._problems)
        note_unlisted(self._from_json, self._problems)
        return self._problems.dataset(self._source, self.names, splits)

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

    def _read(self, split: str, entry: Any) -> list[Sample]:
        """Samples of a split: a folder, a list, a COCO JSON, a mapping of `json` and `images`, or several of those."""
        samples: list[Sample] = []
        images: list[Path] = []
        folders: list[Path] = []
        before = len(self._problems.found)
        for part in entry if isinstance(entry, list) else [entry]:
            folder = None
            if isinstance(part, dict) and set(part) == {"json", "images"}:
                folder = self._locate(split, part["images"])
                part = part["json"]
            path = self._locate(split, part)
            if path.suffix.lower() == ".json":
                self._names, found = read_json(
                    path, self._problems, names=self._names, folder=folder, roots=self._roots
                )
                samples += found
                self._from_json += found
            elif path.is_dir():
                images += [file for file in walk(path, self._problems) if file.suffix.lower() in IMAGE_SUFFIXES]
                folders.append(path)
            else:
                images += _read_list(path, self._roots, self._problems)
                self._lists = True
        read, labelled = self._labels.read(images, len(self.names)) if images else ([], 0)
        for folder in folders:
            leftovers(folder, self._problems)
        self._folders += folders
        samples += read
        if not samples:
            raise self._problems.ending(f"{self._source}: split `{split}` ({entry}) has no usable picture", before)
        if read and not labelled:
            raise self._problems.ending(
                f"{self._source}: none of the {len(images)} pictures has a label file "
                f"(for example {label_path(images[0])})",
                before,
            )
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
    images = []
    for number, line in enumerate(read_text(path, INDEX_BYTES).splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        base = path.parent if text.startswith("./") else roots.first
        image = Path(os.path.normpath(base / text))
        if "\0" in text or not roots.holds(image):
            where = f"line {number}"
            problems.ledger.see(f"{path}, {where}")
            found = f"{text!r}, which leaves the dataset's folder"
            problems.add(path, where, found, "a picture inside it", files=[f"{path}, {where}"])
        else:
            images.append(image)
    return images
