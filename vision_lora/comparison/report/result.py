"""What a comparison found, from its finished cells: the one source of report, page and tables."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vision_lora import __version__
from vision_lora.comparison.cells.cell import Cell, Scored, Trained
from vision_lora.comparison.cells.process import load_detections
from vision_lora.comparison.data import shots_name
from vision_lora.comparison.grid import Grid
from vision_lora.comparison.methods import Method
from vision_lora.comparison.stats import RESAMPLES, Interval, Spread, paired, resampled, spread
from vision_lora.evaluation.matches import ClassMatches, match
from vision_lora.options.compare import CompareConfig

Done = tuple[Cell, Trained, Scored]


@dataclass(frozen=True)
class Run:
    """One scored cell: a seed.

    Attributes:
        seed: of the run.
        map50_95: on the split that decides, 0 to 1.
        map50: likewise.
        val_map50_95: on val.
        best_epoch: of the weights, from 1.
        curve: mAP50-95 on val after each epoch.
        wall_seconds: of the whole training.
        per_class: mAP50-95 and mAP50 of each class; None without a box.
    """

    seed: int
    map50_95: float
    map50: float
    val_map50_95: float
    best_epoch: int
    curve: list[float]
    wall_seconds: float
    per_class: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Row:
    """A method on a training set.

    Attributes:
        method: as in `--methods`.
        shots: name of the training set.
        images: training pictures, mean over seeds.
        images_per_class: those that show a class, mean over classes and seeds.
        lr: learning rate that was taken; None where the method sets its own.
        trials: learning rate and mAP50-95 on val of each trial that finished.
        map50_95: on the split that decides.
        map50: likewise.
        to_first: map50_95 less that of the first method; None for the first.
        to_best: map50_95 less that of the best method on this training set; None for the best.
        keeps_classes: whether the base's own classes can still be asked for.
        joint: whether one pass detects them and the new ones.
        kept: mAP50-95 of those on the retention pictures; None where it was not measured.
        identical: whether all their detections are the base's to the bit.
        trainable_parameters: numbers that training changed.
        total_parameters: of the base.
        bytes: of the file to ship.
        seconds_per_step: median over the seeds.
        images_per_second: likewise.
        peak_memory_mib: highest of the seeds.
        saved_mib: what a step keeps for the backward; None where it was not measured.
        wall_seconds: of a whole training, mean over the seeds.
        runs: each seed.
    """

    method: str
    shots: str
    images: float
    images_per_class: float
    lr: float | None
    trials: list[tuple[float | None, float]]
    map50_95: Spread
    map50: Spread
    to_first: Interval | None
    to_best: Interval | None
    keeps_classes: bool
    joint: bool
    kept: float | None
    identical: bool | None
    trainable_parameters: int
    total_parameters: int
    bytes: int
    seconds_per_step: float
    images_per_second: float
    peak_memory_mib: float
    saved_mib: float | None
    wall_seconds: float
    runs: list[Run]


@dataclass(frozen=True)
class Result:
    """A whole comparison.

    Attributes:
        title: dataset, base and picture size in words.
        command: that repeats it, without the paths of a machine.
        facts: what the report states once: split, pictures, budget, machine, versions.
        base_kept: mAP50-95 of the base itself on the retention pictures; None where none were given.
        rows: methods in the order of `--methods`, training sets in that of `--shots`.
        missing: runs that failed, with the reason.
        problems: pictures and labels that were skipped.
    """

    title: str
    command: str
    facts: Mapping[str, Any]
    base_kept: float | None
    rows: list[Row]
    missing: list[str]
    problems: list[str]

    @property
    def shots(self) -> list[str]:
        """Names of the training sets, in their order."""
        return list(dict.fromkeys(row.shots for row in self.rows))

    @property
    def largest(self) -> str:
        """The training set with the most pictures."""
        return max(self.rows, key=lambda row: row.images).shots

    def of(self, shots: str) -> list[Row]:
        """The rows of a training set."""
        return [row for row in self.rows if row.shots == shots]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Result:
        """From what `to_json` gave."""
        return cls(**{**values, "rows": [_row(row) for row in values["rows"]]})


def collect(grid: Grid, failed: Sequence[tuple[Cell, str]]) -> Result:
    """Everything that the finished cells say.

    Args:
        grid: the comparison.
        failed: cells that did not finish, with what they said.
    """
    rows: list[Row] = []
    for shots in grid.shots:
        done = [(method, _done(grid.finals(method, shots))) for method in grid.methods]
        scored = [(method, cells) for method, cells in done if cells]
        rows += _rows_of(grid, shots, scored)
    general = [
        scored.general["base"]
        for method, shots in grid.each()
        for _, _, scored in _done(grid.finals(method, shots))
        if scored.general
    ]
    return Result(
        title=f"{_short(grid.config.data)}, {grid.base.file}, {grid.config.imgsz} px",
        command=command(grid.config),
        facts=_facts(grid),
        base_kept=general[0] if general else None,
        rows=rows,
        missing=[f"{cell}: {said}" for cell, said in failed],
        problems=list(grid.data.problems),
    )


def _rows_of(grid: Grid, shots: str, scored: Sequence[tuple[Method, list[Done]]]) -> list[Row]:
    """The rows of one training set, with the differences between them."""
    samples, names = grid.data.splits[grid.data.scored], grid.data.names
    matches: dict[str, list[list[ClassMatches]]] = {
        method.text: [
            match(load_detections(cell.folder / "detections.npz", names), samples, names) for cell, _, _ in cells
        ]
        for method, cells in scored
    }
    maps = resampled(matches, len(samples))
    means = {method.text: spread([s.result["map50_95"] for _, _, s in cells]).mean for method, cells in scored}

    def gap(text: str, other: str) -> Interval | None:
        return None if text == other else paired(maps[text], maps[other], means[text] - means[other])

    first = grid.methods[0].text
    best = max(means, key=lambda text: means[text], default="")
    return [
        _row_of(grid, method, shots, cells, gap(method.text, first) if first in means else None, gap(method.text, best))
        for method, cells in scored
    ]


def _row_of(
    grid: Grid, method: Method, shots: str, cells: list[Done], to_first: Interval | None, to_best: Interval | None
) -> Row:
    trained, scored = [t for _, t, _ in cells], [s for _, _, s in cells]
    per_class = [grid.data.per_class(shots, cell.seed) for cell, _, _ in cells]
    general = [s.general for s in scored if s.general]
    saved = [t.saved_mib for t in trained if t.saved_mib is not None]
    return Row(
        method=method.text,
        shots=shots_name(shots),
        images=statistics.fmean(len(grid.data.training[shots, cell.seed]) for cell, _, _ in cells),
        images_per_class=float(np.mean(per_class)),
        lr=cells[0][0].lr,
        trials=[(cell.lr, t.map50_95) for cell in grid.trials(method, shots) if (t := cell.trained)],
        map50_95=spread([s.result["map50_95"] for s in scored]),
        map50=spread([s.result["map50"] for s in scored]),
        to_first=to_first,
        to_best=to_best,
        keeps_classes=method.keeps_classes,
        joint=method.joint,
        kept=statistics.fmean(g["kept"] for g in general) if general else None,
        identical=all(g["identical"] for g in general) if general else None,
        trainable_parameters=trained[0].trainable_parameters,
        total_parameters=trained[0].total_parameters,
        bytes=round(statistics.fmean(t.bytes for t in trained)),
        seconds_per_step=statistics.median(t.seconds_per_step for t in trained),
        images_per_second=statistics.median(t.images_per_second for t in trained),
        peak_memory_mib=max(t.peak_memory_mib for t in trained),
        saved_mib=max(saved) if saved else None,
        wall_seconds=statistics.fmean(t.wall_seconds for t in trained),
        runs=[
            Run(
                seed=cell.seed,
                map50_95=s.result["map50_95"],
                map50=s.result["map50"],
                val_map50_95=t.map50_95,
                best_epoch=t.best_epoch,
                curve=[round(value, 4) for value in t.curve],
                wall_seconds=round(t.wall_seconds, 1),
                per_class={name: (one["map50_95"], one["map50"]) for name, one in s.result["per_class"].items()},
            )
            for cell, t, s in cells
        ],
    )


def command(config: CompareConfig) -> str:
    """The call that repeats a comparison: what differs from the defaults, paths shortened, nothing of the machine."""
    words = ["python -m vision_lora.compare"]
    for item in fields(config):
        value = getattr(config, item.name)
        if value is not None and item.name in ("data", "retention", "replay"):
            value = _short(value)
        elif item.name in ("model", "augment"):
            value = Path(value).name
        elif item.name == "shots":
            value = ",".join(_short(entry) if entry.endswith(".txt") else entry for entry in value.split(","))
        if value == item.default or item.name in ("out", "jobs", "workers", "device"):
            continue
        flag = "--" + item.name.replace("_", "-")
        words.append(flag if value is True else f"{flag} {value}")
    return " ".join(words)


def _facts(grid: Grid) -> dict[str, Any]:
    device = next((t.device for m, s in grid.each() for _, t, _ in _done(grid.finals(m, s))), "cpu")
    machine = {"processor": platform.machine(), "cores": os.cpu_count()}
    if device.startswith("cuda") and torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name(device)
    return {
        "scored": grid.data.scored,
        "scored_images": len(grid.data.splits[grid.data.scored]),
        "names": list(grid.data.names),
        "seeds": list(grid.seeds),
        "epochs": grid.config.epochs,
        "batch": grid.config.batch,
        "rank": grid.config.rank,
        "imgsz": grid.config.imgsz,
        "draws": grid.config.draws,
        "jobs": grid.config.jobs,
        "augment": Path(grid.config.augment).stem,
        "resamples": RESAMPLES,
        "base": grid.base.file,
        "base_fingerprint": grid.base.fingerprint,
        "base_classes": grid.base.classes,
        "data_fingerprint": grid.data.fingerprint(),
        "device": device,
        "machine": machine,
        "versions": {"vision_lora": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _done(cells: Sequence[Cell]) -> list[Done]:
    read = [(cell, cell.trained, cell.scored) for cell in cells]
    return [(cell, trained, scored) for cell, trained, scored in read if trained is not None and scored is not None]


def _short(path: str) -> str:
    """A path as it may be published: the file and the folder that it is in."""
    return "/".join(Path(path).absolute().parts[-2:])


def _row(values: Mapping[str, Any]) -> Row:
    intervals = {name: values[name] and Interval(*values[name]) for name in ("to_first", "to_best")}
    spreads = {name: Spread(*values[name]) for name in ("map50_95", "map50")}
    return Row(**{**values, **intervals, **spreads, "runs": [Run(**run) for run in values["runs"]]})
