"""What a run is going to do, in five lines that a user can check before it takes hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from vision_lora.datasets.sample import Sample
from vision_lora.options.train import TrainConfig
from vision_lora.training.job import Job
from vision_lora.training.loop.listener import Brief

PLAN = "plan.txt"  # in the run's folder: every layer, how it is adapted or why not
HELD_OUT = "val.txt"  # in the run's folder: the pictures that a dataset without val gave for it
NAMED = 8  # classes that are listed by name

_LEARNED = {
    "full": "every weight of {}",
    "freeze": "neck and head of {}",
    "head": "the head of {}",
}


def make_brief(job: Job, fabric: Fabric, folder: Path, ungraphed: str, batch: str, *, resumed: bool) -> Brief:
    """Say what a run is going to do.

    Args:
        job: what it trains, with what and on what.
        fabric: devices and precision.
        folder: where its results go.
        ungraphed: why its steps are not captured in CUDA graphs; empty where they are.
        batch: how the pictures a step were chosen; empty where they were given.
        resumed: whether it goes on from where another one was interrupted.
    """
    lines = {
        "data": _data(job, folder),
        "learns": _learned(job),
        "recipe": _recipe(job.config, len(job.batches)),
        **({"batch": batch} if batch else {}),
        "device": _device(job, fabric, ungraphed),
        "results": str(folder) + (f" (layer by layer: {folder / PLAN})" if job.learner.plan is not None else ""),
    }
    return Brief(job.config, folder, lines, job.learner.plan, resumed)


def plan_text(job: Job) -> str:
    """Layer by layer what trains, and in all by part."""
    assert job.learner.plan is not None
    return f"{job.learner.plan.table()}\n\n{_parts(job.learner.counts)}\n"


def _parts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _data(job: Job, folder: Path) -> str:
    opened, names = job.opened, job.names
    unit = "tiles" if job.config.tile else "pictures"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    held = f", held out of train (listed in {folder / HELD_OUT})" if opened.held_out else ""
    return (
        f"{opened.dataset.source}: train {_counted(opened.train, unit)}; val {_counted(opened.val, unit)}{held}; "
        f"classes: {', '.join(names[:NAMED])}{more}"
    )


def _counted(samples: Sequence[Sample], unit: str) -> str:
    classes = {int(number) for sample in samples for number in sample.classes}
    boxes = sum(len(sample.boxes) for sample in samples)
    kinds = f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}"
    return f"{len(samples):,} {unit} with {boxes:,} boxes of {kinds}"


def _learned(job: Job) -> str:
    config, learner = job.config, job.learner
    trained = sum(learner.counts.values())
    share = f"{trained:,} of {learner.total:,} parameters ({trained / learner.total:.1%})"
    if learner.adapter is None:
        return f"{_LEARNED[config.method].format(config.model)}: {share}"
    if learner.plan is None:
        what = f"an adapter on {config.model} that goes on from {config.on}"
    else:
        rank = "" if config.variant == "ssf" else f" of rank {config.rank}"
        layers = f"{len(learner.plan.adapted)} of {len(learner.plan.entries)} layers"
        where = f"within {config.budget}" if config.budget else f"placement {config.placement}"
        what = f"an adapter on {config.model}: {config.variant}{rank} in {layers} ({where})"
    size = 2 * sum(tensor.numel() for tensor in learner.adapter.folded().state_dict().values())  # fp16
    joint = ", one pass for old and new classes" if config.joint else ""
    return f"{what}{joint}; {share}, a file of about {size / 1e6:.2g} MB in fp16"


def _recipe(config: TrainConfig, steps: int) -> str:
    side = f"{config.imgsz} px" + (f" (growing from {config.grow:.0%} of it)" if config.grow < 1 else "")
    return (
        f"{config.epochs} epochs of {steps} steps; pictures of {side}, {config.batch} a step; AdamW at a rate of "
        f"{config.peak_lr:g}; augmentation {config.augment}"
    )


def _device(job: Job, fabric: Fabric, ungraphed: str) -> str:
    device, workers = fabric.device, job.batches.workers
    gpu = device.type == "cuda"
    name = f"{device} ({torch.cuda.get_device_name(device)})" if gpu else str(device)
    parts = [
        f"{job.config.devices} processes, the first on {name}" if job.config.devices > 1 else name,
        str(fabric._precision.precision),
        f"CPU threads: {torch.get_num_threads()}",
        f"processes that load pictures: {workers}",
    ]
    if gpu:
        parts.append(f"no CUDA graphs ({ungraphed})" if ungraphed else "CUDA graphs")
    return ", ".join(parts)
