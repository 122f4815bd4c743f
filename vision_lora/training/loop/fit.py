"""The training loop: reads from top to bottom, for adapters and for full fine-tuning alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from vision_lora.datasets.batches.batch import ahead
from vision_lora.datasets.batches.loader import TrainLoader
from vision_lora.errors import TrainingError
from vision_lora.options.train import TrainConfig
from vision_lora.system.cores import Threads
from vision_lora.training.loop.learning import Learning
from vision_lora.training.loop.listener import Listener, Row
from vision_lora.training.loop.objective import Objective
from vision_lora.training.loop.pace import Pace
from vision_lora.training.runs.state import State


@dataclass
class History:
    """What a run leaves beside its weights.

    Attributes:
        rows: one an epoch: epoch, lr, mean losses, map50_95 and map50 on val, images_per_second.
        seconds: of each training step, waiting for pictures not counted; on a GPU means over some steps.
        best: highest map50_95 on val so far.
    """

    rows: list[Row] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: float = -1.0

    @property
    def best_epoch(self) -> int:
        """Epoch of the best weights, from 1."""
        return int(max(self.rows, key=lambda row: row["map50_95"])["epoch"])

    @property
    def seconds_per_step(self) -> float:
        """Median over the steps."""
        return statistics.median(self.seconds)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"rows": self.rows, "seconds": self.seconds, "best": self.best}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Go on from an earlier `state_dict`."""
        self.rows, self.seconds, self.best = values["rows"], values["seconds"], values["best"]


def fit(
    network: nn.Module,
    learned: nn.Module,
    objective: Objective,
    batches: TrainLoader,
    validate: Callable[[], tuple[float, float]],
    save: Callable[[str], None],
    config: TrainConfig,
    fabric: Fabric,
    state: State,
    listener: Listener,
    *,
    graphed: bool = False,
    threads: Threads | None = None,
    until: int | None = None,
) -> History:
    """Train `learned`, an adapter or the network itself, and keep the best and the last weights.

    Args:
        network: the detector's.
        learned: the module whose parameters change: the adapter, or the network itself.
        objective: what each step makes small.
        batches: training pictures.
        validate: measures the detector as it is now: map50_95 and map50 on val.
        save: writes the detector as it is now; called with `best` or `last`.
        config: the recipe.
        fabric: devices and precision.
        state: where everything needed to go on is written, before the first step and after each epoch.
        listener: is told of each step and epoch.
        graphed: whether steps are captured in CUDA graphs, see `vision_lora.training.loop.graphs`.
        threads: follow what other programs leave of a CPU.
        until: stop after so many epochs of the schedule; None for all.

    Raises:
        TrainingError: a loss is not a number.
        KeyboardInterrupt: after the last weights were saved, where there had been a step.
    """
    learning = Learning(network, learned, objective, config, fabric, graphed=graphed)
    history = History()

    def keep() -> None:
        values = {**learning.state_dict(), **history.state_dict()}
        if fabric.is_global_zero:
            state.save(values)

    try:
        if state.values is None:
            keep()
        else:
            learning.load_state_dict(state.values)
            history.load_state_dict(state.values)
        while not _ended(history, config, until):
            row, pace = _epoch(learning, batches, len(history.rows), listener, threads)
            best = _judge(learning, row, pace, history, validate, save)
            keep()
            listener.validated(history.rows[-1], best=best)
            fabric.barrier()
    except KeyboardInterrupt:
        with learning.ema.applied():
            save("last")
        raise
    return history


def _epoch(
    learning: Learning, batches: TrainLoader, epoch: int, listener: Listener, threads: Threads | None
) -> tuple[Row, Pace]:
    """Learn from each batch of an epoch, from 0; gives epoch, last learning rate and mean losses, and how fast it was.

    Raises:
        TrainingError: a loss is not a number.
    """
    config, fabric = learning.config, learning.fabric
    batches.set_epoch(epoch)
    learning.objective.begin_epoch(epoch, config.epochs)
    side, steps = side_at(epoch, config), len(batches)
    warmup = max(1, round(config.warmup * steps))
    pace = Pace(fabric)
    for index, batch in enumerate(pace.waiting_for(ahead(batches, fabric.device, room=learning.graphed))):
        lr = config.peak_lr * schedule(epoch * steps + index, config.epochs * steps, warmup)
        names, losses = learning.step(batch.resized(side), lr)
        read = pace.stepped(names, losses, batches.pictures(index), last=index + 1 == steps)
        if read:
            means = read
            if not all(map(math.isfinite, means.values())):
                raise TrainingError(
                    f"epoch {epoch + 1}, step {index + 1}: the loss is not a number ({means}); "
                    f"try --lr {config.peak_lr / 4:g}, or --precision fp32"
                )
            listener.stepped(epoch + 1, index + 1, steps, {**means, **pace.speed})
        if threads is not None:
            threads.adapt()
    return {"epoch": epoch + 1, "lr": lr, **means}, pace


def _judge(
    learning: Learning,
    row: Row,
    pace: Pace,
    history: History,
    validate: Callable[[], tuple[float, float]],
    save: Callable[[str], None],
) -> bool:
    """Measure the averaged weights, write the epoch down and keep them; gives whether they are the best so far."""
    history.seconds += pace.seconds
    with learning.ema.applied():
        # One process measures, and all stop and keep by its word.
        map50_95, map50 = learning.fabric.broadcast(validate() if learning.fabric.is_global_zero else (0.0, 0.0))
        speed = pace.speed["images_per_second"]
        history.rows.append({**row, "map50_95": map50_95, "map50": map50, "images_per_second": speed})
        if best := map50_95 > history.best:
            history.best = map50_95
            save("best")
        save("last")
    return best


def schedule(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine from 1 to 0.01 (Loshchilov & Hutter 2017, eq. 5).

    Examples:
        >>> schedule(0, 100, 10), round(schedule(10, 100, 10), 6), round(schedule(100, 100, 10), 6)
        (0.1, 1.0, 0.01)
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def side_at(epoch: int, config: TrainConfig) -> int:
    """Side of the pictures in an epoch, pixels: grows in steps of 32 (Tan & Le 2021, EfficientNetV2, section 4.2).

    Examples:
        >>> config = TrainConfig(data="data.yaml", imgsz=224, grow=0.5, epochs=8)
        >>> [side_at(epoch, config) for epoch in range(8)]
        [96, 128, 128, 160, 160, 192, 224, 224]
    """
    done = min(1.0, epoch / max(1.0, 0.75 * config.epochs))
    return max(32, math.floor(config.imgsz * (config.grow + (1 - config.grow) * done) / 32) * 32)


def _ended(history: History, config: TrainConfig, until: int | None) -> bool:
    """Whether the last epoch is over, or so many without a better one are."""
    epochs = len(history.rows)
    return epochs >= (until or config.epochs) or (epochs > 0 and epochs - history.best_epoch >= config.patience)
