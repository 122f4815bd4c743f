"""The grid of a comparison: which cells there are, which are done, and running the others."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock, Timeout

from vision_lora.comparison.cells.cell import Cell, Order, read_json
from vision_lora.comparison.cells.pool import Runner
from vision_lora.comparison.data import Data, fingerprint, share_data, shots_name, write_data
from vision_lora.comparison.methods import Method, parse_lrs, parse_methods
from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.open import open_dataset, open_pictures
from vision_lora.datasets.sample import own_size
from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_detector
from vision_lora.errors import ConfigError, DataError
from vision_lora.evaluation.measure import demand_known
from vision_lora.options.compare import CompareConfig
from vision_lora.options.placement import placement_for
from vision_lora.rendering.write import ensure_demo
from vision_lora.system.devices import make_fabric, pick_device
from vision_lora.system.outputs import write_json


class Audience(Protocol):
    """Who follows a comparison."""

    def planned(self, cells: int, done: int) -> None:
        """Before the first run: how many there will be, and how many of them an earlier call has finished."""

    def finished(self, cell: Cell, error: str | None) -> None:
        """After each run; with what a failed one said."""


class Base(NamedTuple):
    """The base detector: file name, fingerprint of its weights, and how many classes it knows."""

    file: str
    fingerprint: str
    classes: int


@dataclass(frozen=True)
class Grid:
    """A comparison, ready to run.

    Attributes:
        config: its options.
        methods: what is compared; the first is the reference.
        shots: entries of `--shots`.
        seeds: of the runs; the first one tries the learning rates.
        data: what all cells share.
        root: its folder.
        base: the base detector.
    """

    config: CompareConfig
    methods: tuple[Method, ...]
    shots: tuple[str, ...]
    seeds: tuple[int, ...]
    data: Data
    root: Path
    base: Base

    def trials(self, method: Method, shots: str) -> list[Cell]:
        """The cells that decide the learning rate: the first seed with each."""
        return [self._cell(method, shots, lr, self.seeds[0]) for lr in method.lrs]

    def chosen(self, method: Method, shots: str) -> float | None:
        """The learning rate whose trial is best on val.

        Raises:
            LookupError: no trial is finished.
        """
        done = [(cell, trained) for cell in self.trials(method, shots) if (trained := cell.trained) is not None]
        if not done:
            raise LookupError(f"no finished trial of {method.text}")
        return max(done, key=lambda pair: pair[1].map50_95)[0].lr

    def finals(self, method: Method, shots: str) -> list[Cell]:
        """The cells that are scored: each seed with the chosen learning rate; none where no trial is finished."""
        try:
            lr = self.chosen(method, shots)
        except LookupError:
            return []
        return [self._cell(method, shots, lr, seed) for seed in self.seeds]

    def each(self) -> Iterator[tuple[Method, str]]:
        """Every method on every training set."""
        return ((method, shots) for shots in self.shots for method in self.methods)

    def order(self, cell: Cell) -> Order:
        """What the cell's process has to do."""
        config, pictures = self.config, len(self.data.training[cell.shots, cell.seed])
        options: dict[str, Any] = {
            "data": str(self.data.file(cell.shots, cell.seed).absolute()),
            "model": config.model,
            "rank": config.rank,
            "epochs": config.epochs,
            "patience": config.epochs,  # the same budget for all: nobody stops early
            "imgsz": config.imgsz,
            "batch": config.batch,
            "draws": config.draws,
            "augment": config.augment,
            "seed": cell.seed,
            "placement": placement_for(pictures),
            "workers": config.workers,
            "device": config.device,
            "precision": config.precision,
            **cell.method.options,
        }
        if cell.method.joint and options["method"] == "lora":
            options["replay"] = config.replay
        if cell.lr is not None:
            options["lr"] = cell.lr
        # Ultralytics' epochs draw each picture once, ours a small set several times.
        passes = max(1, round(config.epochs * max(config.draws, pictures) / pictures))
        retention = config.retention if cell.method.keeps_classes else None
        return Order(cell.method.name, options, self.data.scored, retention, passes)

    def _cell(self, method: Method, shots: str, lr: float | None, seed: int) -> Cell:
        return Cell.at(self.root / "cells", method, shots, lr, seed)


def plan_grid(config: CompareConfig) -> Grid:
    """Check everything that can be checked before the first run.

    Raises:
        VisionLoraError: a mistake in the options or the data, or a folder with cells of other options.
    """
    methods = parse_methods(config.methods, parse_lrs(config.lrs, "lrs"))
    seeds = _seeds(config.seeds)
    shots = tuple(entry.strip() for entry in config.shots.split(","))
    if len({shots_name(entry) for entry in shots}) < len(shots):
        raise ConfigError(f"--shots {config.shots}: expected each entry once, and lists with different names")
    make_fabric(config.device, config.precision)  # refuses what this machine cannot do
    augment = config.augment
    load_recipe(augment)
    if Path(augment).suffix:
        augment = str(Path(augment).absolute())
    base = load_detector(config.model, None, "cpu")
    model = str(Path(config.model).absolute()) if Path(config.model).is_file() else config.model
    retention, replay = (
        None if path is None else str(Path(path).absolute()) for path in (config.retention, config.replay)
    )
    if retention is not None:
        _check_retention(retention, base, methods)
    if replay is not None:
        open_pictures(replay)  # refuses a folder without any
    root = Path(config.out)
    ensure_demo(config.data)
    data = share_data(config.data, shots, seeds, root / "data", strict=config.strict)
    imgsz = config.imgsz or own_size(data.splits["train"])
    config = replace(config, model=model, augment=augment, imgsz=imgsz, retention=retention, replay=replay)
    return Grid(config, methods, shots, seeds, data, root, Base(base.base, base.fingerprint, len(base.names)))


def run_grid(grid: Grid, audience: Audience) -> list[tuple[Cell, str]]:
    """Run what is not done yet: first the trials of each method, then the other seeds with what they chose.

    Returns:
        The cells that failed, with what they said.

    Raises:
        ConfigError: the folder holds something else, or cells of other options, or another comparison runs in it.
        KeyboardInterrupt: finished cells stay, the others go on from their last epoch when called again.
    """
    failed: list[tuple[Cell, str]] = []

    def finished(cell: Cell, error: str | None) -> None:
        if error is not None:
            failed.append((cell, error))
        audience.finished(cell, error)

    with _claimed(grid):
        write_data(grid.data)
        # One learning rate needs no trial: the run is scored at once.
        first = [(cell, len(method.lrs) == 1) for method, shots in grid.each() for cell in grid.trials(method, shots)]
        later = sum(len(grid.seeds) - (len(method.lrs) == 1) for method, _ in grid.each())
        known = [cell for method, shots in grid.each() for cell in grid.finals(method, shots)]
        done = sum(_done(cell, score=score) for cell, score in first)
        done += sum(_done(cell, score=True) for cell in known if (cell, True) not in first)
        audience.planned(len(first) + later, done)
        runner = Runner(grid.config.jobs)
        _run(grid, runner, first, finished)
        finals = [(cell, True) for method, shots in grid.each() for cell in grid.finals(method, shots)]
        _run(grid, runner, [pair for pair in finals if pair[0] not in [cell for cell, _ in failed]], finished)
    return failed


def _run(
    grid: Grid, runner: Runner, cells: Sequence[tuple[Cell, bool]], finished: Callable[[Cell, str | None], None]
) -> None:
    left = [(cell, score) for cell, score in cells if not _done(cell, score=score)]
    for cell, _ in left:
        grid.order(cell).write(cell.folder)
    runner.run(left, finished)


def _done(cell: Cell, *, score: bool) -> bool:
    return (cell.scored if score else cell.trained) is not None


def _seeds(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ConfigError(f"--seeds {text}: expected whole numbers from 0 on, each once")
    return tuple(map(int, words))


@contextmanager
def _claimed(grid: Grid) -> Iterator[None]:
    """The grid's folder, for this process alone, once it is sure that its cells are of the same options."""
    root, file = grid.root, grid.root / "grid.json"
    if root.exists() and not file.exists() and (not root.is_dir() or set(os.listdir(root)) - {".lock"}):
        raise ConfigError(f"--out {root}: holds something that is no comparison; give another folder")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock", timeout=0):
            now, then = _common(grid), read_json(file)
            if then is None:
                write_json(file, now)
            else:
                _demand_same(now, then, root)
            yield
    except Timeout:
        raise ConfigError(f"--out {root}: another comparison is running there; wait for it, or give another") from None
    except PermissionError as error:
        raise ConfigError(f"--out {root}: cannot be written ({error.strerror}); give another folder") from None


def _common(grid: Grid) -> dict[str, Any]:
    """What all cells of a folder must have alike."""
    config = grid.config
    model = Path(config.model)
    return {
        "data": grid.data.fingerprint(),
        "model": hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else config.model,
        "augment": asdict(load_recipe(config.augment)),
        "retention": None if config.retention is None else _retention_fingerprint(config.retention),
        "replay": None if config.replay is None else Path(config.replay).name,
        "device": pick_device(config.device).type,
        **{name: getattr(config, name) for name in ("precision", "epochs", "imgsz", "batch", "rank", "draws")},
    }


def _demand_same(now: Mapping[str, Any], then: Mapping[str, Any], root: Path) -> None:
    """Refuse options that would mix results."""
    now = json.loads(json.dumps(now))
    for name, value in now.items():
        if value != then.get(name):
            plain = isinstance(value, (int, str)) and name not in ("data", "model", "retention")
            was = f"{name} {then.get(name)}, now {value}" if plain else f"another --{name}"
            raise ConfigError(
                f"--{name}: the runs in {root} were made with {was}; give the same again, or another --out"
            )


def _check_retention(source: str, base: Detector, methods: Sequence[Method]) -> None:
    """Refuse pictures that cannot show what is kept, before anything is trained."""
    dataset = open_dataset(source).sure()
    if not dataset.splits.get("val"):
        raise DataError(f"--retention {source}: no val split (there: {', '.join(dataset.splits)})")
    try:
        demand_known(base.names, dataset.names, dataset.splits["val"])
    except DataError as error:
        raise DataError(f"--retention {source}: {error}") from None
    if not any(method.keeps_classes for method in methods):
        raise ConfigError(
            "--retention: none of the methods keeps the base's classes; expected lora or full:joint among --methods"
        )


def _retention_fingerprint(source: str) -> str:
    dataset = open_dataset(source).sure()
    return fingerprint(dataset.names, {"val": dataset.splits["val"]})
