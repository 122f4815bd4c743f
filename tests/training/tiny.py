"""Training runs that take a second: eight small pictures, one layer's adapter."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tests.datasets.build import yolo
from vision_lora.adapters.file import load_adapter
from vision_lora.evaluation.coco_map import MapResult
from vision_lora.options.train import TrainConfig
from vision_lora.training.loop.listener import Listener
from vision_lora.training.runs.summary import RunSummary
from vision_lora.training.session import train


def data(root: Path) -> Path:
    """Eight pictures of two classes, to train on and to be measured on."""
    labels = [f"{index % 2} 0.5 0.5 0.{index % 4 + 3} 0.5\n" for index in range(8)]
    return yolo(root, labels, val="images/train", names="[scratch, dent]")


def options(dataset: Path, out: Path, **more: object) -> TrainConfig:
    """The recipe of a short run on the CPU."""
    given = {"imgsz": 64, "draws": 0, "batch": 4, "epochs": 3, "workers": 0, "placement": "head", "rank": 2}
    given |= {"data": str(dataset), "out": str(out), "device": "cpu", "precision": "fp32", "threads": 1, **more}
    return TrainConfig(**given)  # type: ignore[arg-type]


class Watch(Listener):
    """Listens, and may do something at a point of the run."""

    def __init__(self, at_step: Callable[[int, int], None] | None = None) -> None:
        self.at_step = at_step
        self.epochs: list[int] = []

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        """What was asked for."""
        if self.at_step is not None:
            self.at_step(epoch, step)

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        """Keep count."""
        self.epochs.append(int(row["epoch"]))


def run(config: TrainConfig, watch: Watch | None = None) -> RunSummary:
    """Train."""
    return train(config, watch or Watch())


def resume(out: Path, watch: Watch | None = None) -> RunSummary:
    """Go on with a run as `--resume` does."""
    return train(TrainConfig(resume=str(out)), watch or Watch())


def summary(out: Path, **more: object) -> RunSummary:
    """What a run might have given."""
    given: dict[str, object] = {"out": out, "result": out / "adapter.safetensors", "model": "starter", "method": "lora"}
    given |= {"val": MapResult(0.1, 0.2, 0.1, None, None, None, {}), "epochs": 1, "best_epoch": 1, "steps": 2}
    given |= {"trainable_parameters": 10, "total_parameters": 100, "parameters_by_part": {"low-rank factors": 10}}
    given |= {"adapter_bytes": 1000, "seconds_per_step": 0.1, "images_per_second": 10.0, "peak_memory_mib": 100.0}
    given |= {"base": "starter", "base_fingerprint": "abc", "names": ("dent",), "images": {"train": 8, "val": 8}}
    given |= {"skipped": (), "lr": 0.004, "imgsz": 64, "seed": 0, "device": "cpu", "precision": "fp32"}
    given |= {
        "rule": "f1 on val",
        "thresholds": {},
        "chosen": "",
        "rank": 8,
        "norm": "frozen",
        "batch": 4,
        "ema": 0.995,
    }
    given |= {"graphs": "off", "versions": {}, **more}
    return RunSummary(**given)  # type: ignore[arg-type]


def same(one: Path, other: Path) -> bool:
    """Whether two runs have left the same numbers: both adapters, and each row but for the speed."""
    for file in ("adapter.safetensors", "last.safetensors"):
        first, second = (load_adapter(out / file).state_dict() for out in (one, other))
        if first.keys() != second.keys() or not all(torch.equal(first[name], second[name]) for name in first):
            return False
    first_rows, second_rows = (
        [{**row, "images_per_second": ""} for row in csv.DictReader((out / "results.csv").open())]
        for out in (one, other)
    )
    return first_rows == second_rows


__all__ = ["Watch", "data", "options", "replace", "resume", "run", "same", "summary"]
