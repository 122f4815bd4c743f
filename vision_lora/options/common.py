"""Words, ranges and kinds of value that options of several verbs share."""

from __future__ import annotations

from typing import Any, Literal

from vision_lora.options.option import Group, option

Variant = Literal["lora", "rslora", "dora", "lora-fa", "ssf"]
Split = Literal["train", "val", "test"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Count = int | Literal["auto"]

BASE = "base detector: starter, which ships with the package; an official name, downloaded once; or a checkpoint's path"
DATA = "dataset: a data.yaml, a COCO json, or a folder with one of them"
A_DATASET = "the path of a dataset"
PLACED = "which layers are adapted: all; deep: not where the picture is still large; neck (and head); head"
OWN_SIZE = "side of the square pictures that the detector sees; 0: their own, from 320 to 640"
AUGMENT = "augmentation recipe: surface, conveyor, none, or the path of a YAML file"
DRAWS = "pictures in an epoch, at least: a smaller set is drawn several times, augmented anew"
OVERLAP = "least share of a tile that its neighbour shows too"
DEVICE = "auto, cpu, cuda, cuda:1, mps"
PRECISION = "auto: bf16 where the processor has it, else fp32"
JSON = "file for the result as JSON"
NEW_FOLDER = "where it exists a number is added"
EXIST_OK = "write into the folder even where it exists"
CONFIDENCE = "lowest score that counts; default: the thresholds on the adapter's card, else 0.25"
MODE = (
    "which classes: general (the base's own), defects (the adapter's), both; default: defects with an adapter, "
    "else general"
)
STRICT = "stop at a broken label or picture instead of skipping it"
SEEDS = 2**32 - 1  # the largest that every generator of random numbers takes


def iou() -> Any:
    """An option for the overlap of non-maximum suppression."""
    return option(
        0.7, "overlap above which the weaker of two boxes of a class goes", "detection", at_least=0, at_most=1
    )


def side(default: int | None, text: str, group: Group = "recipe", *, apart: int | None = None) -> Any:
    """An option for the side of the square that pictures are fitted into.

    Args:
        default: as for `option`.
        text: as for `option`.
        group: as for `option`.
        apart: 0 where that stands for the pictures' own size.
    """
    return option(default, text, group, at_least=32, at_most=8192, multiple_of=32, unit="pixels", apart=apart)


def seed(text: str, group: Group = "recipe") -> Any:
    """An option for the seed of what is drawn at random."""
    return option(0, text, group, at_least=0, at_most=SEEDS)


def tile(text: str, group: Group) -> Any:
    """An option for the side of tiles that large pictures are cut into."""
    return option(0, text, group, at_least=32, unit="pixels", apart=0)


def threads(text: str) -> Any:
    """An option for the number of CPU threads, 0 for a number that fits."""
    return option(0, text, "speed", at_least=0, at_most=1024)


def workers(text: str, default: int | Literal["auto"] = "auto") -> Any:
    """An option for the number of processes that load pictures."""
    return option(default, text, "speed", at_least=0, at_most=64)
