"""The data of a comparison: read once, divided once, written down, so that every cell sees the same boxes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vision_lora.comparison.subsets import few_shot, pictures_per_class
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.datasets.split import SHARES, split_dataset
from vision_lora.datasets.write import write_coco, yolo_yaml
from vision_lora.errors import ConfigError, DataError
from vision_lora.system.outputs import write_text

ALL = "all"


@dataclass(frozen=True)
class Data:
    """What all cells train on and are measured on.

    Attributes:
        source: what `--data` named.
        names: class names.
        splits: the pictures; `test` only where the dataset has one.
        training: for each of `--shots` and each seed, positions in the train split.
        problems: pictures and labels that were skipped.
        folder: where the files are that `file` names.
    """

    source: str
    names: tuple[str, ...]
    splits: Mapping[str, Sequence[Sample]]
    training: Mapping[tuple[str, int], Sequence[int]]
    problems: tuple[str, ...]
    folder: Path

    @property
    def scored(self) -> str:
        """The split that decides: test, or val where there is no test split."""
        return "test" if "test" in self.splits else "val"

    def file(self, shots: str, seed: int) -> Path:
        """The dataset file of a cell: its training pictures, and val and test."""
        return self.folder / f"{_key(shots, seed)}.yaml"

    def train_samples(self, shots: str, seed: int) -> list[Sample]:
        """The training pictures of a cell."""
        return [self.splits["train"][index] for index in self.training[shots, seed]]

    def per_class(self, shots: str, seed: int) -> list[int]:
        """How many training pictures of a cell show each class."""
        return pictures_per_class(self.train_samples(shots, seed), len(self.names))

    def fingerprint(self) -> str:
        """Of the names and splits, see `fingerprint`."""
        return fingerprint(self.names, self.splits)


def fingerprint(names: Sequence[str], splits: Mapping[str, Sequence[Sample]]) -> str:
    """SHA-256 of a dataset but for where it lies: class names, and each split's file names, sizes and boxes."""
    digest = hashlib.sha256("\n".join(names).encode())
    root = _root([sample for samples in splits.values() for sample in samples])
    for split, samples in sorted(splits.items()):
        for sample in samples:
            name = os.path.relpath(os.path.realpath(sample.path), root)
            digest.update(
                f"\n{split} {Path(name).as_posix()} {sample.width} {sample.height}".encode(errors="surrogateescape")
            )
            for array in (sample.boxes, sample.classes, sample.ignored, sample.ignored_classes):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def share_data(source: str, shots: Sequence[str], seeds: Sequence[int], folder: Path, *, strict: bool = False) -> Data:
    """Open the dataset, divide what is not divided, choose the few-shot subsets.

    Args:
        source: as for `open_dataset`. Without a val split it is divided, near-copies together.
        shots: `all`, pictures of each class, or the path of a .txt list of training pictures.
        seeds: of the runs; each draws its own subsets. The first one also divides the dataset.
        folder: for the files that the cells read; nothing is written yet.
        strict: stop at a broken label or picture.

    Raises:
        DataError: the dataset cannot be used, or a list names a picture that is not in the train split.
        ConfigError: an entry of `shots` is none of the above.
    """
    dataset = open_dataset(source, strict=strict).sure()
    problems = [str(problem) for problem in dataset.problems]
    if not dataset.splits.get("train"):
        raise DataError(f"{source}: no train split (there: {', '.join(dataset.splits)}); a comparison needs one")
    if not dataset.splits.get("val"):
        dataset = _divided(dataset, seeds[0])
    splits = {split: _readable(samples, problems) for split, samples in dataset.splits.items() if split != "train"}
    for split, samples in splits.items():
        if not any(len(sample.boxes) for sample in samples):
            raise DataError(f"{source}: no box in the {split} split, so nothing can be measured on it")
    train = dataset.splits["train"]
    numbers = [int(entry) for entry in shots if entry.isdecimal() and int(entry)]
    training: dict[tuple[str, int], list[int]] = {}
    for seed in seeds:
        subsets = few_shot(train, numbers, len(dataset.names), seed)
        for entry in shots:
            if entry == ALL:
                training[entry, seed] = list(range(len(train)))
            elif entry.endswith(".txt"):
                training[entry, seed] = _listed(Path(entry), train)
            elif entry.isdecimal() and int(entry):
                training[entry, seed] = subsets[int(entry)]
            else:
                raise ConfigError(f"--shots {entry}: expected all, pictures a class such as 10, or a .txt list")
    return Data(source, dataset.names, {"train": train, **splits}, training, tuple(problems), folder)


def write_data(data: Data) -> None:
    """Write the files that the cells read: COCO JSON, which keeps boxes to the bit and regions to ignore."""
    data.folder.mkdir(parents=True, exist_ok=True)
    root = _root([sample for samples in data.splits.values() for sample in samples])
    for split, samples in data.splits.items():
        if split != "train":
            write_coco(data.folder / f"{split}.json", samples, data.names, root)
    for shots, seed in data.training:
        key = _key(shots, seed)
        write_coco(data.folder / f"{key}.json", data.train_samples(shots, seed), data.names, root)
        stems = {"train": key, **{split: split for split in data.splits if split != "train"}}
        splits = {split: {"json": f"{stem}.json", "images": root} for split, stem in stems.items()}
        write_text(data.folder / f"{key}.yaml", yolo_yaml(splits, data.names))


def shots_name(shots: str) -> str:
    """What an entry of `--shots` is called in tables and file names: a list by its file's name."""
    return Path(shots).stem if shots.endswith(".txt") else shots


def _key(shots: str, seed: int) -> str:
    """File name of a training set; only numbers are drawn anew by each seed."""
    return f"train-{shots}-seed{seed}" if shots.isdecimal() else f"train-{shots_name(shots)}"


def _divided(dataset: Dataset, seed: int) -> Dataset:
    """A dataset without a val split, divided; a test split that is there stays as it is."""
    test = dataset.splits.get("test")
    if not test:
        return split_dataset(dataset, seed=seed)
    share = SHARES["val"] / (SHARES["train"] + SHARES["val"])
    rest = replace(dataset, splits={"train": dataset.splits["train"]})
    divided = split_dataset(rest, {"train": 1 - share, "val": share}, seed=seed)
    return replace(divided, splits={**divided.splits, "test": test})


def _readable(samples: Sequence[Sample], problems: list[str]) -> list[Sample]:
    """The samples that can be decoded: a broken one must not stop a measurement after hours of training."""
    errors = [_reading_error(sample) for sample in samples]
    problems += [error for error in errors if error is not None]
    return [sample for sample, error in zip(samples, errors, strict=True) if error is None]


def _reading_error(sample: Sample) -> str | None:
    try:
        sample.read()
    except DataError as error:
        return str(error)
    return None


def _listed(path: Path, train: Sequence[Sample]) -> list[int]:
    """Positions of the pictures that a list names, one a line, relative to the list's own folder."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--shots {path}: cannot be read ({error}); expected a list of pictures") from None
    place = {os.path.realpath(sample.path): index for index, sample in enumerate(train)}
    positions = set()
    for number, line in enumerate(lines, start=1):
        if not (text := line.strip()):
            continue
        index = place.get(os.path.realpath(path.parent / text))
        if index is None:
            raise DataError(f"{path}, line {number}: {text!r} is not in the dataset's train split")
        positions.add(index)
    if not positions:
        raise DataError(f"{path}: empty; expected one picture a line")
    return sorted(positions)


def _root(samples: Sequence[Sample]) -> str:
    """The folder that holds all pictures, links followed."""
    return os.path.commonpath([os.path.dirname(os.path.realpath(sample.path)) for sample in samples])
