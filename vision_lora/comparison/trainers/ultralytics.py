"""The outside baseline: Ultralytics' own trainer, unchanged, on the same pictures."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics
from ultralytics.models import YOLO

from vision_lora import __version__
from vision_lora.comparison.cells.cell import Order, Trained
from vision_lora.comparison.cells.stopwatch import Clock
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.datasets.write import yolo_labels, yolo_yaml
from vision_lora.detectors.load import load_base, load_detector
from vision_lora.evaluation.measure import measure
from vision_lora.options.train import TrainConfig
from vision_lora.system.cores import loader_processes
from vision_lora.system.devices import peak_memory_mib, pick_device
from vision_lora.system.outputs import write_json, write_text


def train_ultralytics(order: Order, folder: Path) -> Trained:
    """Train a cell as Ultralytics does with its defaults, or go on with one that was interrupted.

    Optimiser, schedule, augmentation, precision and validation are its own; pictures, picture size, batch, seed and
    the number of pictures seen are the comparison's. Where a learning rate is given, the optimiser is AdamW with it.
    Its best checkpoint is measured by our evaluation.
    """
    config = TrainConfig(**order.options)
    device = pick_device(config.device)
    dataset = open_dataset(config.data).sure()
    out = folder / "train"
    best = out / "weights" / "best.pt"
    if len(_rows(out)) < order.epochs_outside or not best.exists():
        _train(order, config, dataset, device, out)
    clock = Clock(folder / "attempts.json")
    peak = peak_memory_mib(device)
    detector = load_detector(str(best), None, config.device)
    val = dataset.splits["val"]
    result, _ = measure(detector, eval_loader(val, config.imgsz, config.batch_size), val, dataset.names, mode="general")
    curve = [float(row["metrics/mAP50-95(B)"]) for row in _rows(out)]
    base = load_base(config.model, fold=False).network
    return Trained(
        weights=str(best.relative_to(folder)),
        adapter=False,
        map50_95=result.map50_95,
        map50=result.map50,
        best_epoch=1 + int(np.argmax(curve)),
        epochs=len(curve),
        curve=curve,
        total_parameters=sum(parameter.numel() for parameter in base.parameters()),
        bytes=best.stat().st_size,
        peak_memory_mib=peak,
        saved_mib=None,
        wall_seconds=clock.keep(),
        device=str(device),
        versions={"vision_lora": __version__, "torch": torch.__version__, "ultralytics": ultralytics.__version__},
        **json.loads((folder / "watch.json").read_text(encoding="utf-8")),
    )


def _train(order: Order, config: TrainConfig, dataset: Dataset, device: torch.device, out: Path) -> None:
    """Run Ultralytics' trainer, from its last epoch where it has finished some."""
    folder = out.parent
    last, start = out / "weights" / "last.pt", folder / "start.pt"
    resume = bool(_rows(out)) and last.exists()
    data = _copy(dataset.splits, dataset.names, folder / "data")
    watch = _Watch(folder)
    if not resume:  # Ultralytics' own reader runs code from a file: it gets none of a stranger's
        torch.manual_seed(config.seed)  # for an architecture, whose weights are random
        load_base(config.model, fold=False).save_checkpoint(start)
    model: Any = YOLO(last if resume else start)
    for event, listen in watch.callbacks().items():
        model.add_callback(event, listen)
    model.train(
        data=str(data),
        epochs=order.epochs_outside,
        patience=order.epochs_outside,
        imgsz=config.imgsz,
        batch=config.batch_size,
        seed=config.seed,
        workers=loader_processes(config.workers, device),
        device=str(device.index or 0) if device.type == "cuda" else device.type,
        project=str(folder.absolute()),
        name=out.name,
        exist_ok=True,
        plots=False,
        resume=resume,
        **({"optimizer": "AdamW", "lr0": config.lr} if "lr" in order.options else {}),
    )
    shutil.rmtree(data.parent)
    start.unlink(missing_ok=True)


class _Watch:
    """Takes the times of Ultralytics' trainer from its callbacks, and writes them down after each epoch.

    The clock starts with the first epoch: before that, Ultralytics may try to fetch a file to test mixed precision
    with, and how long that takes without a network says nothing about training.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock: Clock | None = None
        self.steps: list[float] = []
        self.epoch_started = self.step_started = self.speed = 0.0

    def callbacks(self) -> Mapping[str, Any]:
        """Its methods by the trainer's events."""
        return {
            "on_train_start": lambda trainer: self._training_starts(),
            "on_train_epoch_start": lambda trainer: self._epoch_starts(),
            "on_train_batch_start": lambda trainer: self._step_starts(),
            "on_train_batch_end": lambda trainer: self._step_ends(),
            "on_train_epoch_end": self._epoch_ends,
            "on_fit_epoch_end": self._epoch_is_kept,
        }

    def _training_starts(self) -> None:
        self.clock = Clock(self.folder / "attempts.json")

    def _epoch_starts(self) -> None:
        self.epoch_started = time.perf_counter()

    def _step_starts(self) -> None:
        self.step_started = time.perf_counter()

    def _step_ends(self) -> None:
        self.steps.append(time.perf_counter() - self.step_started)

    def _epoch_ends(self, trainer: Any) -> None:
        self.speed = len(trainer.train_loader.dataset) / (time.perf_counter() - self.epoch_started)

    def _epoch_is_kept(self, trainer: Any) -> None:
        assert self.clock is not None, "training has started"
        self.clock.keep()
        values = {
            "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            "precision": "16-mixed" if trainer.amp else "32-true",
            "seconds_per_step": statistics.median(self.steps),
            "images_per_second": self.speed,
        }
        write_json(self.folder / "watch.json", values)


def _rows(out: Path) -> list[dict[str, str]]:
    """Epochs that Ultralytics has finished, as its results.csv tells."""
    try:
        with (out / "results.csv").open(encoding="utf-8") as file:
            return [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def _copy(splits: Mapping[str, Sequence[Sample]], names: Sequence[str], root: Path) -> Path:
    """Train and val as a YOLO dataset of its own.

    Ultralytics writes a cache beside the labels and saves pictures anew that it finds damaged: never in the source.
    """
    shutil.rmtree(root, ignore_errors=True)
    for split in ("train", "val"):
        pictures, labels = root / "images" / split, root / "labels" / split
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number, sample in enumerate(splits[split]):
            shutil.copyfile(sample.path, pictures / f"{number:06d}{sample.path.suffix}")
            rows = yolo_labels(sample.boxes, sample.classes, sample.width, sample.height)
            (labels / f"{number:06d}.txt").write_text(rows, encoding="utf-8")
    splits_at = {split: f"images/{split}" for split in ("train", "val")}
    write_text(root / "data.yaml", yolo_yaml(splits_at, names, str(root.absolute())))
    return root / "data.yaml"
