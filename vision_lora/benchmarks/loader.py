"""Our training loader against Ultralytics' own and against the training step that it feeds, in turn, in one run.

`python -m vision_lora.benchmarks.loader --data D --imgsz 320 --json data/results/loader_D_320.json`
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vision_lora.benchmarks.steps import adapted, training_step
from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.batches.loader import Loading, train_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.options import common
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.system.outputs import check_file, write_json

_WARM = 2  # batches before the clock starts: worker processes are up by then


@dataclass(frozen=True)
class LoaderBenchConfig(Options):
    """Measure training loaders: pictures a second, ours, Ultralytics' own, and what a training step takes."""

    data: str = option("", common.DATA, required=common.A_DATASET)
    model: str = option("yolo11n.pt", "base detector of the training step: path of a checkpoint, or an official name")
    imgsz: int = common.side(640, "side of the square pictures")
    batch: int = option(16, "pictures in a batch", at_least=1)
    workers: int = common.workers("worker processes of each loader", 1)
    augment: str = option("surface", "our recipe; Ultralytics runs its own defaults")
    pictures: int = option(800, "pictures of the train split to load, at most", at_least=1)
    repeats: int = option(5, "turns; in each, every loader runs through the pictures once", at_least=1)
    seed: int = common.seed("seed of order and augmentation")
    json: str | None = option(None, "file for the rows as JSON")


@dataclass(frozen=True)
class Row:
    """One measured loader, or the training step.

    Attributes:
        loader: which.
        images_per_second: median over the turns.
        lowest: in the slowest turn.
        highest: in the fastest turn.
        ratio: ours by this one's images per second, median over the turns.
    """

    loader: str
    images_per_second: float
    lowest: float
    highest: float
    ratio: float


def loader_rows(config: LoaderBenchConfig) -> list[Row]:
    """Run every loader in turn and compare turn by turn, so that a busy machine slows all alike.

    Raises:
        DataError: the dataset has no train split, or too few pictures for the batch.
    """
    dataset = open_dataset(config.data).sure()
    samples = dataset.splits.get("train", [])[: config.pictures]
    least = config.batch * (_WARM + 2)
    if len(samples) < least:
        raise DataError(f"{config.data}: {len(samples)} training pictures; expected {least} or more: lower --batch")
    recipe = load_recipe(config.augment)
    loading = Loading(config.workers)
    ours = train_loader(samples, config.imgsz, config.batch, recipe=recipe, seed=config.seed, loading=loading)
    with _copy(samples) as root:
        loaders: dict[str, Callable[[int], Iterable[Any]]] = {
            f"vision_lora, {config.augment}": lambda turn: _epoch(ours, turn),
            "ultralytics": _ultralytics(root, dataset.names, config, cache=False),
            "ultralytics, cache=ram": _ultralytics(root, dataset.names, config, cache="ram"),
        }
        speeds: dict[str, list[float]] = {name: [] for name in (*loaders, "training step, bf16")}
        batch = next(iter(_epoch(ours, 0)))
        step = training_step(*adapted(config.model), batch.images, batch.targets, "bf16")
        step()
        for turn in range(config.repeats):
            for name, batches in loaders.items():
                speeds[name].append(_images_per_second(batches(turn)))
            speeds["training step, bf16"].append(len(batch) / min(_seconds(step) for _ in range(3)))
    first = next(iter(speeds.values()))
    return [
        Row(
            name,
            round(statistics.median(rates), 1),
            round(min(rates), 1),
            round(max(rates), 1),
            round(statistics.median(own / rate for own, rate in zip(first, rates, strict=True)), 2),
        )
        for name, rates in speeds.items()
    ]


def _epoch(loader: Any, turn: int) -> Iterable[Any]:
    loader.set_epoch(turn)
    return loader  # type: ignore[no-any-return]


def _images_per_second(batches: Iterable[Any]) -> float:
    """Speed of one pass, without its first batches."""
    count, start = 0, 0.0
    for index, batch in enumerate(batches):
        if index >= _WARM:
            count += len(batch["img"] if isinstance(batch, dict) else batch)
        if index == _WARM - 1:
            start = time.perf_counter()
    return count / (time.perf_counter() - start)


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


@contextmanager
def _copy(samples: Sequence[Sample]) -> Iterator[Path]:
    """The pictures in a folder of their own: Ultralytics writes a cache file beside the labels it reads."""
    with tempfile.TemporaryDirectory(prefix="vision_lora_bench_") as folder:
        root = Path(folder)
        for kind in ("images", "labels"):
            (root / kind / "train").mkdir(parents=True)
        for number, sample in enumerate(samples):
            name = f"{number:06d}"
            shutil.copyfile(sample.path, root / "images/train" / f"{name}{sample.path.suffix}")
            centres, sides = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2, sample.boxes[:, 2:] - sample.boxes[:, :2]
            shares = np.concatenate([centres, sides], 1) / np.tile([sample.width, sample.height], 2)
            rows = np.concatenate([sample.classes[:, None], shares], 1)
            np.savetxt(root / "labels/train" / f"{name}.txt", rows, fmt=["%d", *["%.6f"] * 4])
        yield root


def _ultralytics(
    root: Path, names: tuple[str, ...], config: LoaderBenchConfig, *, cache: bool | str
) -> Callable[[int], Iterable[Any]]:
    """Ultralytics' training loader with its default augmentation (mosaic, affine, colour, flips)."""
    os.environ.setdefault("YOLO_VERBOSE", "False")
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader, build_yolo_dataset

    options = {"task": "detect", "mode": "train", "imgsz": config.imgsz, "cache": cache, "seed": config.seed}
    pictures = str(root / "images/train")
    data: Any = {"path": str(root), "train": pictures, "names": dict(enumerate(names)), "nc": len(names), "channels": 3}
    settings: Any = get_cfg(overrides=options)
    dataset = build_yolo_dataset(settings, pictures, config.batch, data, mode="train", rect=False)
    loader = build_dataloader(dataset, config.batch, config.workers, shuffle=True, rank=-1, device="cpu")
    return lambda turn: loader


def run(config: LoaderBenchConfig, console: Console) -> None:
    """Measure, print a table, write JSON where asked."""
    if not config.data:
        raise DataError("--data (nothing): expected the path of a dataset")
    target = check_file("json", config.json, endings=(".json",))
    rows = loader_rows(config)
    table = Table("loader", "images/s", "lowest", "highest", "ours / this")
    for row in rows:
        speeds = row.images_per_second, row.lowest, row.highest, row.ratio
        table.add_row(row.loader, *(f"{value:g}" for value in speeds))
    console.print(table)
    if target is not None:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
        write_json(target, {"config": asdict(config), "machine": machine, "rows": [asdict(row) for row in rows]})


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(LoaderBenchConfig, "benchmarks.loader", run, argv)


if __name__ == "__main__":
    sys.exit(main())
