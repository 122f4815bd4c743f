"""What a run trains, with what and on what: everything that is made ready before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning_fabric
import torch
from lightning_fabric import Fabric

from vision_lora import __version__
from vision_lora.datasets.batches.augment import Recipe, load_recipe
from vision_lora.datasets.batches.loader import Batches, Loading, TrainLoader, eval_loader, train_loader
from vision_lora.datasets.open import open_pictures
from vision_lora.datasets.sample import own_size
from vision_lora.evaluation.measure import at_once
from vision_lora.options.capacity import Norm
from vision_lora.options.placement import placement_for
from vision_lora.options.train import TrainConfig
from vision_lora.rendering.write import ensure_demo
from vision_lora.system.cores import loader_processes
from vision_lora.training.checks import check_boxes
from vision_lora.training.choices.budget import choose_layers
from vision_lora.training.loop.objective import Objective, Task
from vision_lora.training.methods import TEACHER, Learner, make_learner
from vision_lora.training.replay import replay_loader
from vision_lora.training.retain import Replay, Retaining
from vision_lora.training.runs.state import file_digest, fingerprint, fingerprint_of
from vision_lora.training.samples import Opened, open_samples


@dataclass(frozen=True)
class Data:
    """A run's options and pictures.

    Attributes:
        config: the options, those that follow from the pictures decided.
        opened: the pictures.
        recipe: of augmentation.
        identity: what the run is of, as far as the data says.
    """

    config: TrainConfig
    opened: Opened
    recipe: Recipe
    identity: dict[str, str]


@dataclass(frozen=True)
class Job:
    """All that a run needs.

    Attributes:
        config: its options.
        opened: its pictures.
        batches: to train on.
        val_batches: to be measured on.
        replay: pictures to stay the same on, or to tell the new ones from; None where none are needed.
        learner: the detector and what trains of it.
        layers: those that were chosen within a budget.
        objective: what is made small.
        identity: what the run is of.
    """

    config: TrainConfig
    opened: Opened
    batches: TrainLoader
    val_batches: Batches
    replay: TrainLoader | None
    learner: Learner
    layers: list[str] | None
    objective: Objective
    identity: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes to learn."""
        return self.opened.dataset.names


def open_data(config: TrainConfig) -> Data:
    """Open a run's data, and look for what would stop it later.

    Raises:
        DataError: there is nothing to train on, or nothing to be measured on.
    """
    recipe = load_recipe(config.augment)
    ensure_demo(config.data)
    opened = open_samples(config)
    names = opened.dataset.names
    check_boxes(opened.dataset.source, opened.train, opened.val, names)
    identity = {
        "versions": f"vision_lora {__version__}, torch {torch.__version__}",
        "classes": ", ".join(names),
        "data": f"train {fingerprint(opened.train)}, val {fingerprint(opened.val)}",
        "augmentation": fingerprint_of(repr(recipe)),
    }
    if config.replay is not None:
        identity["replay"] = fingerprint(open_pictures(config.replay))
    if config.on is not None:
        identity["adapter to go on from"] = file_digest(Path(config.on)).hex()[:12]
    config = replace(
        config,
        imgsz=config.imgsz or own_size(opened.train),
        placement=config.placement or placement_for(len(opened.train)),
    )
    return Data(config, opened, recipe, identity)


def prepare(data: Data, fabric: Fabric, layers: Sequence[str] | None) -> Job:
    """Decode the pictures, load the base and make it ready.

    Args:
        data: what to train on.
        fabric: devices and precision, not launched yet.
        layers: to adapt, where they are known already.

    Raises:
        VisionLoraError: base, adapter or pictures cannot be used.
    """
    config, opened = data.config, data.opened
    names = opened.dataset.names
    lightning_fabric.seed_everything(config.seed, verbose=False)
    loading = Loading(
        workers=loader_processes(config.workers, fabric.device, config.devices),
        pin_memory=fabric.device.type == "cuda",
        shard=(fabric.global_rank, config.devices),
    )
    batches = train_loader(
        opened.train,
        config.imgsz,
        config.batch_size,
        recipe=data.recipe,
        seed=config.seed,
        loading=loading,
        strict=config.strict,
        balanced=config.balanced,
        min_draws=config.draws,
    )
    if layers is None and config.budget is not None:
        layers = sorted(choose_layers(config, names, batches.whole(), fabric.device))
    learner = make_learner(config, names, layers)
    replay = None
    if learner.adapter is not None and (config.joint or config.quiet):
        beside = replace(loading, spare=batches.in_flight)
        replay = replay_loader(config, learner.detector.side, len(batches), beside)
    own = -(-config.batch_size // config.devices)
    return Job(
        config,
        opened,
        batches,
        eval_loader(opened.val, config.imgsz, at_once(own, fabric.device), again=True),
        replay,
        learner,
        None if layers is None else list(layers),
        objective_of(config, learner, names, replay),
        {**data.identity, "base": learner.base},
    )


def with_recipe(job: Job, *, rank: int, norm: Norm) -> Job:
    """The same pictures, and an adapter of another kind: untrained, as `prepare` would have made it.

    Args:
        job: of an adapter that shares nothing with it.
        rank: of its low-rank factors.
        norm: BatchNorm's statistics.
    """
    config = replace(job.config, rank=rank, norm=norm)
    lightning_fabric.seed_everything(config.seed, verbose=False)
    learner = make_learner(config, job.names, job.layers)
    return replace(job, config=config, learner=learner, objective=objective_of(config, learner, job.names, job.replay))


def objective_of(config: TrainConfig, learner: Learner, names: Sequence[str], replay: Replay | None) -> Objective:
    """What training makes small: the task's losses, in a joint run with the distance from the teacher."""
    detector = learner.detector
    if learner.adapter is None:
        return Task(detector, len(detector.names) - len(names))
    if not config.joint or replay is None:
        return Task(detector, 0)
    return Retaining(detector, replay, config.retain_weight, None if config.on is None else TEACHER)
