"""The pictures of a training run: from its options to the samples that it learns from and is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_lora.datasets.naming import write_yaml
from vision_lora.datasets.open import lacking_yaml, open_dataset
from vision_lora.datasets.sample import Dataset, Problem, Problems, Sample
from vision_lora.datasets.split import hold_out
from vision_lora.datasets.tiles import cut_tiles
from vision_lora.errors import DataError
from vision_lora.options.train import TrainConfig
from vision_lora.pictures.images import read_image
from vision_lora.text.names import pick


@dataclass(frozen=True)
class Opened:
    """What a run trains and validates on.

    Attributes:
        dataset: with the classes to learn.
        train: its samples to learn from.
        val: those to be measured on, all of them readable.
        problems: labels and val pictures that were skipped.
        held_out: what the train split gave to be measured on, where the dataset has no val split; whole pictures.
    """

    dataset: Dataset
    train: list[Sample]
    val: list[Sample]
    problems: list[Problem]
    held_out: list[Sample]


def open_samples(config: TrainConfig) -> Opened:
    """Open a run's dataset; one without val gives a part of its train pictures, large frames are cut into tiles.

    Raises:
        DataError: no dataset, a split that is missing, or no val picture that can be read.
    """
    if config.yes and (unnamed := lacking_yaml(config.data)) is not None:
        write_yaml(unnamed, seed=config.seed)
    dataset = open_dataset(config.data, strict=config.strict).sure()
    if config.classes is not None:
        dataset = dataset.only(pick(config.classes, dataset.names))
    held_out: list[Sample] = []
    if dataset.splits.get("train") and not dataset.splits.get("val"):
        dataset = hold_out(dataset, seed=config.seed)
        held_out = dataset.splits["val"]
    train_samples = _split(dataset, "train")
    val_samples, broken = _readable(_split(dataset, "val"), strict=config.strict)
    if config.tile:
        train_samples = cut_tiles(train_samples, config.tile, config.overlap)
        val_samples = cut_tiles(val_samples, config.tile, config.overlap)
    return Opened(dataset, train_samples, val_samples, [*dataset.problems, *broken], held_out)


def _split(dataset: Dataset, name: str) -> list[Sample]:
    if not dataset.splits.get(name):
        there = ", ".join(dataset.splits) or "none"
        raise DataError(f"{dataset.source}: no {name} split (there: {there}); training needs train and val")
    return dataset.splits[name]


def _readable(samples: Sequence[Sample], *, strict: bool) -> tuple[list[Sample], list[Problem]]:
    """The samples whose picture can be decoded, so that no validation stops a long training; and the others."""
    readable, problems = [], Problems(strict=strict)
    for sample in samples:
        error = _reading_error(sample.path)
        if error is None:
            readable.append(sample)
        else:
            problems.add(sample.path, "", error, "a whole picture")
    if not readable:
        raise DataError(f"none of the {len(samples)} val pictures can be read; the first: {problems.found[0]}")
    return readable, problems.found


def _reading_error(path: Path) -> str | None:
    try:
        read_image(path)
    except DataError as error:
        return str(error)
    return None
