"""Cells: one training run each, in a folder of its own that tells how far it got."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vision_lora.comparison.data import shots_name
from vision_lora.comparison.methods import Method
from vision_lora.system.outputs import write_json


@dataclass(frozen=True)
class Trained:
    """What a finished training run left: `trained.json`.

    Attributes:
        weights: adapter or checkpoint, relative to the cell's folder.
        adapter: whether it is an adapter of ours.
        map50_95: of those weights on val, 0 to 1.
        map50: likewise.
        best_epoch: epoch that they are of, from 1.
        epochs: passes over the training pictures.
        curve: mAP50-95 on val after each epoch; for Ultralytics' trainer by its own measure.
        trainable_parameters: numbers that training changed.
        total_parameters: of the base.
        bytes: size of the file to ship.
        seconds_per_step: median, loading not counted.
        images_per_second: of the last epoch, loading counted, validation not.
        peak_memory_mib: on a GPU the most that tensors took, else the most that the process had resident.
        saved_mib: what one step's forward keeps for the backward, on the CPU; None where it was not measured.
        wall_seconds: from opening the dataset to the measured weights, all attempts of an interrupted run together.
        device: where it ran.
        precision: of the training arithmetic.
        versions: of what it ran with.
    """

    weights: str
    adapter: bool
    map50_95: float
    map50: float
    best_epoch: int
    epochs: int
    curve: list[float]
    trainable_parameters: int
    total_parameters: int
    bytes: int
    seconds_per_step: float
    images_per_second: float
    peak_memory_mib: float
    saved_mib: float | None
    wall_seconds: float
    device: str
    precision: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Scored:
    """What its weights reach on the split that decides: `scored.json`, with `detections.npz` beside it.

    Attributes:
        result: as `MapResult.to_json`.
        general: mAP of the base's own classes on the retention pictures: of the `base` itself, `kept` afterwards, and
            whether the detections are `identical` to the bit; None where the method keeps none, or none was asked.
    """

    result: Mapping[str, Any]
    general: Mapping[str, Any] | None


@dataclass(frozen=True)
class Cell:
    """One training run: a method with a learning rate and a seed on a training set.

    Attributes:
        method: what is trained.
        shots: entry of `--shots`.
        lr: peak learning rate; None where the method sets its own.
        seed: of the run.
        folder: of its files.
    """

    method: Method
    shots: str
    lr: float | None
    seed: int
    folder: Path

    @classmethod
    def at(cls, root: Path, method: Method, shots: str, lr: float | None, seed: int) -> Cell:
        """The cell with its folder, whose name says what it is."""
        rate = "own-lr" if lr is None else f"lr{lr:g}"
        method_name = re.sub(r"[^\w.=-]+", "_", method.text)
        return cls(method, shots, lr, seed, root / f"{method_name}--{shots_name(shots)}--{rate}--seed{seed}")

    def __str__(self) -> str:
        rate = "" if self.lr is None else f", learning rate {self.lr:g}"
        return f"{self.method.text}, {shots_name(self.shots)}{rate}, seed {self.seed}"

    @property
    def trained(self) -> Trained | None:
        """What training left; None while it is not finished."""
        values = read_json(self.folder / "trained.json")
        return None if values is None else Trained(**values)

    @property
    def scored(self) -> Scored | None:
        """What scoring left; None while it is not finished."""
        values = read_json(self.folder / "scored.json")
        return None if values is None else Scored(**values)


@dataclass(frozen=True)
class Order:
    """What a cell's process has to do: `order.json` in its folder.

    Attributes:
        method: a name of `methods.NAMES`.
        options: of `train`, in full.
        scored: the split that decides.
        retention: dataset that shows what the base's classes come to; None where it is not asked, or they are lost.
        epochs_outside: passes of Ultralytics' trainer, whose epochs draw every picture once.
    """

    method: str
    options: Mapping[str, Any]
    scored: str
    retention: str | None
    epochs_outside: int

    def write(self, folder: Path) -> None:
        """Leave the order in a cell's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "order.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Order:
        """The order of a cell's folder."""
        values = json.loads((folder / "order.json").read_text(encoding="utf-8"))
        return cls(**{item.name: values[item.name] for item in fields(cls)})


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's mapping; None where there is no such file."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return values
