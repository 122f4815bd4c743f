"""A dataset as another camera would show it: pictures that are far from a base's, made from ones that are at hand.

`python -m vision_lora.benchmarks.shifts --data D --kind inverted --out data/D-inverted`
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.write import yolo_labels, yolo_yaml
from vision_lora.errors import DataError
from vision_lora.options import common
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, demand, option
from vision_lora.pictures.images import write_picture
from vision_lora.system.outputs import new_folder, write_text

Picture = NDArray[np.uint8]
Kind = Literal["inverted", "binarised", "half"]

_WINDOW = 1 / 8  # of the shorter side: what the mean around a pixel is taken over


@dataclass(frozen=True)
class ShiftConfig(Options):
    """Write a shifted copy of a dataset: the same boxes on pictures that are inverted, binarised or half as large."""

    data: str = option("", common.DATA, required=common.A_DATASET)
    kind: Kind = option("inverted", "inverted: a negative; binarised: at the local mean; half: of each side")
    out: str = option("", "folder for the copy; it must not exist", required="a new folder")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(not Path(self.out).exists(), "out", self.out, "a new folder")


def inverted(picture: Picture) -> Picture:
    """The negative, (h, w, 3)."""
    return np.bitwise_not(picture)


def binarised(picture: Picture) -> Picture:
    """White where the grey is above the mean around it, else black, (h, w, 3)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    window = max(3, round(min(grey.shape) * _WINDOW) | 1)
    mean = cv2.boxFilter(grey.astype(np.float32), -1, (window, window), borderType=cv2.BORDER_REFLECT)
    return np.repeat(np.where(grey > mean, 255, 0).astype(np.uint8)[..., None], 3, 2)


def half(picture: Picture) -> Picture:
    """Half of each side, (h / 2, w / 2, 3), means over the pixels."""
    height, width = picture.shape[:2]
    return cv2.resize(picture, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


SHIFTS: Mapping[Kind, Callable[[Picture], Picture]] = {"inverted": inverted, "binarised": binarised, "half": half}


def write_shifted(config: ShiftConfig, console: Console) -> Path:
    """Write the copy, in YOLO's form; gives its `data.yaml`.

    Raises:
        DataError: a picture cannot be decoded, or has regions to ignore, which YOLO's labels cannot hold.
    """
    dataset = open_dataset(config.data).sure()
    if lost := next((sample for samples in dataset.splits.values() for sample in samples if len(sample.ignored)), None):
        raise DataError(f"{lost.path}: has a region to ignore, which labels in YOLO's form cannot hold; expected none")
    out = new_folder(config.out, exist_ok=False)
    for split, samples in dataset.splits.items():
        for kind in ("images", "labels"):
            (out / kind / split).mkdir(parents=True)
        for number, sample in enumerate(track(samples, split, console=console, transient=True)):
            name = f"{number:06d}"
            write_picture(out / "images" / split / f"{name}.png", SHIFTS[config.kind](sample.read()))
            # Shares of the picture stay what they are.
            label = yolo_labels(sample.boxes, sample.classes, sample.width, sample.height)
            write_text(out / "labels" / split / f"{name}.txt", label)
    write_text(out / "data.yaml", yolo_yaml({split: f"images/{split}" for split in dataset.splits}, dataset.names))
    return out / "data.yaml"


def run(config: ShiftConfig, console: Console) -> None:
    """Write the copy, and say where it is."""
    console.print(f"{write_shifted(config, console)}: {config.data}, {config.kind}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(ShiftConfig, "benchmarks.shifts", run, argv)


if __name__ == "__main__":
    sys.exit(main())
