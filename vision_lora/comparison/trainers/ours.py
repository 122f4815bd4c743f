"""Cells of our own training loop: adapters, full fine-tuning and its cheaper forms."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from vision_lora.benchmarks.probe import saved_mib
from vision_lora.comparison.cells.cell import Order, Trained
from vision_lora.comparison.cells.stopwatch import Clock
from vision_lora.datasets.batches.noise import noise_batch
from vision_lora.options.train import TrainConfig
from vision_lora.system.devices import has_bf16, pick_device
from vision_lora.training.loop.listener import Listener
from vision_lora.training.methods import Learner, make_learner
from vision_lora.training.session import train


class Timed(Listener):
    """Follows a training with a clock, and says nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:  # noqa: ARG002 - the time is enough
        """Keep the time: the epoch is on disk."""
        self.clock.keep()


def train_loop(order: Order, folder: Path) -> Trained:
    """Train a cell with `vision_lora.training`, or go on with one that was interrupted."""
    out = folder / "train"
    clock = Clock(folder / "attempts.json")
    config = TrainConfig(**order.options, out=str(out), exist_ok=True)
    unfinished = (out / "state.pt").exists()
    if unfinished or not (out / "summary.json").exists():
        train(replace(config, resume=str(out)) if unfinished else config, Timed(clock))
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    with (out / "results.csv").open(encoding="utf-8") as file:
        curve = [float(row["map50_95"]) for row in csv.DictReader(file)]
    seconds = clock.keep()
    config = replace(config, rank=summary["rank"], norm=summary["norm"])  # which a race may have chosen
    return Trained(
        weights=f"{out.name}/{'adapter.safetensors' if config.method == 'lora' else 'best.pt'}",
        adapter=config.method == "lora",
        curve=curve,
        bytes=summary["adapter_bytes"],
        saved_mib=None if config.joint else step_mib(make_learner(config, summary["names"]), config),
        wall_seconds=seconds,
        **{name: summary[name] for name in _SHARED},
    )


_SHARED = (
    "map50_95",
    "map50",
    "best_epoch",
    "epochs",
    "trainable_parameters",
    "total_parameters",
    "seconds_per_step",
    "images_per_second",
    "peak_memory_mib",
    "device",
    "precision",
    "versions",
)  # what `Trained` and `summary.json` call alike


def step_mib(learner: Learner, config: TrainConfig) -> float | None:
    """What a step's forward keeps for the backward, parameters not counted; None on a GPU, which counts its own."""
    device = pick_device(config.device)
    if device.type != "cpu":
        return None
    dtype = config.precision
    if dtype == "auto":
        dtype = "bf16" if has_bf16(device) else "fp32"
    classes = len(learner.detector.names if learner.adapter is None else learner.adapter.card.names)
    images, targets = noise_batch(config.imgsz, config.batch_size, classes, seed=0)
    torch.manual_seed(config.seed)
    return saved_mib(learner.detector, learner.learned, images, targets, dtype)
