"""Pictures with YOLO's label files, and no yaml that says what their classes are called."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vision_lora.datasets.formats.labels import Labels
from vision_lora.datasets.formats.paths import Roots, not_needed
from vision_lora.datasets.formats.yolo import SPLITS, read_entries
from vision_lora.datasets.sample import Dataset, Problems
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.system.files import LABEL_BYTES, read_text

YAML = "data.yaml"
CLASSES = 10_000  # no dataset has more: a larger number in a label file is of something else
_LISTS = ("classes.txt", "obj.names")  # names beside the labels, as labelImg and Darknet leave them


@dataclass(frozen=True)
class Unnamed:
    """A folder that lacks its `data.yaml`.

    Attributes:
        folder: the folder.
        splits: folder of the pictures of each split, as the yaml would have it.
        pictures: how many there are.
        labelled: how many of them have a label file.
        names: of its classes, from a list that lies there; else `class0`, `class1`, ...
    """

    folder: Path
    splits: Mapping[str, str]
    pictures: int
    labelled: int
    names: tuple[str, ...]

    @property
    def yaml(self) -> Path:
        """The file that it lacks."""
        return self.folder / YAML

    def lines(self, splits: Mapping[str, str] | None = None) -> list[str]:
        """What would stand in its yaml.

        Args:
            splits: in place of its own.
        """
        entries = {**({} if "val" in (splits or self.splits) else {"path": "."}), **(splits or self.splits)}
        names = json.dumps(self.names, ensure_ascii=False)
        return [*(f"{key}: {_quoted(value)}" for key, value in entries.items()), f"names: {names}"]

    def error(self) -> DataError:
        """What to write, or how to have it written."""
        held = "" if "val" in self.splits else " (it names no val: about a fifth of train is held out for it)"
        lines = self.lines()
        return DataError(
            f"{self.folder}: {self.pictures} pictures, {self.labelled} of them with .txt labels of {len(self.names)} "
            f"classes, and no {YAML} that names the classes; expected {self.yaml} with these {len(lines)} lines, your "
            f"own names in theirs: `{'`, `'.join(lines)}`{held}; write them, or give `train` --yes, which does"
        )

    def read(self) -> Dataset:
        """The dataset that it would be with them."""
        return read_entries(self.yaml, self.folder, self.names, dict(self.splits), Problems())


def find_unnamed(folder: Path) -> Unnamed | None:
    """Pictures with labels in a folder: in folders named after splits, in `images`, or all in one place."""
    splits = _splits(folder)
    if not splits:
        return None
    labels, pictures, labelled, highest = Labels(Roots(folder), 0, Problems()), 0, 0, -1
    for place in splits.values():
        for picture in _pictures(folder / place):
            pictures += 1
            classes = labels.classes(picture)
            if classes is not None:
                labelled += 1
                highest = max(highest, *classes, -1)
    if not 0 <= highest < CLASSES:
        return None
    return Unnamed(folder, splits, pictures, labelled, _names(folder, splits, highest + 1))


def _splits(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, split in SPLITS.items():
        for place in (f"images/{key}", f"{key}/images", key):
            if split not in found and _holds_pictures(folder / place):
                found[split] = place
    if "train" in found:
        return found
    whole = next((place for place in ("images", ".") if _holds_pictures(folder / place)), None)
    return {} if whole is None else {"train": whole}


def _holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(
        Path(name).suffix.lower() in IMAGE_SUFFIXES and not not_needed(name) for name in os.listdir(folder)
    )


def _pictures(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not not_needed(name))
        yield from (Path(here, name) for name in sorted(files) if Path(name).suffix.lower() in IMAGE_SUFFIXES)


def _names(folder: Path, splits: Mapping[str, str], count: int) -> tuple[str, ...]:
    """Names from the first list that has one for each class; made up where there is none."""
    places = [folder, folder / "labels", *(folder / place for place in splits.values())]
    for file in (place / name for place in places for name in _LISTS):
        if file.is_file():
            names = [line.strip() for line in read_text(file, LABEL_BYTES).split("\n") if line.strip()]
            if len(names) >= count and len(set(names)) == len(names):
                return tuple(names)
    return tuple(f"class{number}" for number in range(count))


def _quoted(text: str) -> str:
    """A path in YAML: as it stands where that is sure to be text."""
    return text if text.replace("/", "").replace(".", "").isalnum() or text == "." else json.dumps(text)
