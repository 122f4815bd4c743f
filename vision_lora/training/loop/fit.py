"""The training loop: reads from top to bottom, for adapters and for full fine-tuning alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vision_lora.datasets.batches.batch import ahead
from vision_lora.datasets.batches.loader import TrainLoader
from vision_lora.detectors.losses.share import counting
from vision_lora.errors import TrainingError
from vision_lora.options.verbs import TrainConfig
from vision_lora.system.cores import Threads
from vision_lora.training.loop.ema import Ema
from vision_lora.training.loop.flat import Flat
from vision_lora.training.loop.graphs import Backward, Eager, Graphed
from vision_lora.training.loop.objective import Objective
from vision_lora.training.loop.pace import Pace
from vision_lora.training.loop.statistics import average_statistics
from vision_lora.training.runs.state import State, random_states, set_random_state

Row = dict[str, float]


class Listener(Protocol):
    """Who wants to know how training goes."""

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        """After each step, with the epoch's mean losses and `images_per_second`."""

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        """After each epoch, with everything that `results.csv` holds."""


class Silent:
    """Listens and says nothing."""

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        """Nothing."""

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        """Nothing."""


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


class Step(nn.Module):
    """One training step's forward as a single module, so that Fabric can spread it over devices."""

    def __init__(self, network: nn.Module, learned: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.learned = learned
        self._objective = objective

    def forward(self, images: Tensor, targets: Tensor, *further: Tensor, present: bool = True) -> dict[str, Tensor]:
        """Losses by name, see `Objective`; of pictures that count, or that only keep the processes in step."""
        with counting(present):
            return self._objective(images, targets, *further)


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
    module = Step(network, learned, objective).to(fabric.device)
    flat = Flat(parameter_groups(learned, config))
    # One kernel; it would scale fp16's gradients by itself, after they were clipped.
    optimizer = torch.optim.AdamW(flat.groups, lr=config.peak_lr, fused=config.precision != "fp16")
    step, optimizer = fabric.setup(module, optimizer)
    eager = Eager(step, fabric)
    backward: Backward = Graphed(module, flat, network, fabric, eager) if graphed else eager
    ema = Ema(flat, learned, config.ema)
    history = History()
    warmup = max(1, round(config.warmup * len(batches)))

    def keep() -> None:
        values = _values(learned, optimizer, fabric, ema, history)
        if fabric.is_global_zero:
            state.save(values)

    try:
        if state.values is None:
            keep()
        else:
            _restore(state.values, learned, optimizer, fabric, ema, history)
        while not _ended(history, config, until):
            epoch = len(history.rows)
            batches.set_epoch(epoch)
            side = side_at(epoch, config)
            objective.begin_epoch(epoch, config.epochs)
            pace = Pace(fabric)
            for index, batch in enumerate(pace.waiting_for(ahead(batches, fabric.device, room=graphed))):
                batch = batch.resized(side)
                present = bool((batch.indices >= 0).all())
                done, steps = epoch * len(batches) + index, config.epochs * len(batches)
                lr = config.peak_lr * schedule(done, steps, warmup)
                for group in optimizer.param_groups:
                    group["lr"] = lr * group["ratio"]
                inputs = (batch.images, batch.targets, *objective.further(fabric.device))
                names, losses = backward(*inputs, present=present)
                fabric.clip_gradients(step, optimizer, max_norm=config.clip, error_if_nonfinite=False)
                optimizer.step()
                flat.zero_grad()
                average_statistics(learned)
                ema.update()
                read = pace.stepped(names, losses, batches.pictures(index), last=index + 1 == len(batches))
                if read:
                    means = read
                    if not all(map(math.isfinite, means.values())):
                        raise TrainingError(
                            f"epoch {epoch + 1}, step {index + 1}: the loss is not a number ({means}); "
                            f"try --lr {config.peak_lr / 4:g}, or --precision fp32"
                        )
                    listener.stepped(epoch + 1, index + 1, len(batches), {**means, **pace.speed})
                if threads is not None:
                    threads.adapt()
            history.seconds += pace.seconds

            with ema.applied():
                # One process measures, and all stop and keep by its word.
                map50_95, map50 = fabric.broadcast(validate() if fabric.is_global_zero else (0.0, 0.0))
                row = {"epoch": epoch + 1, "lr": lr, **means, "map50_95": map50_95, "map50": map50}
                history.rows.append({**row, "images_per_second": pace.speed["images_per_second"]})
                if best := map50_95 > history.best:
                    history.best = map50_95
                    save("best")
                save("last")
            keep()
            listener.validated(history.rows[-1], best=best)
            fabric.barrier()
    except KeyboardInterrupt:
        with ema.applied():
            save("last")
        raise
    return history


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


def parameter_groups(learned: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """What trains, by weight decay and learning rate.

    Matrices decay; vectors (biases, scales, shifts, norms) do not. The factor A learns more slowly than B and all else
    by `lora_plus` (Hayou et al. 2024, LoRA+, section 4): Adam moves every number by the learning rate, which is a large
    part of A's, and where both factors run, their product runs away (data/results/divergence.json).

    Returns:
        Groups for AdamW; `ratio` is the group's learning rate by the schedule's.
    """
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    downs: list[nn.Parameter] = []
    for name, parameter in learned.named_parameters():
        if parameter.requires_grad:
            kind = vectors if parameter.ndim <= 1 else downs if name.endswith(".down") else matrices
            kind.append(parameter)
    return [
        {"params": matrices, "weight_decay": config.weight_decay, "ratio": 1.0},
        {"params": downs, "weight_decay": config.weight_decay, "ratio": 1 / config.b_by_a},
        {"params": vectors, "weight_decay": 0.0, "ratio": 1.0},
    ]


def _ended(history: History, config: TrainConfig, until: int | None) -> bool:
    """Whether the last epoch is over, or so many without a better one are."""
    epochs = len(history.rows)
    return epochs >= (until or config.epochs) or (epochs > 0 and epochs - history.best_epoch >= config.patience)


def _values(
    learned: nn.Module, optimizer: torch.optim.Optimizer, fabric: Fabric, ema: Ema, history: History
) -> dict[str, Any]:
    """All that it takes to go on."""
    return {
        "learned": learned.state_dict(),
        "optimizer": optimizer.state_dict(),
        "precision": fabric._precision.state_dict(),
        "random": random_states(),
        "ema": ema.state_dict(),
        "rows": history.rows,
        "seconds": history.seconds,
        "best": history.best,
    }


def _restore(
    values: dict[str, Any],
    learned: nn.Module,
    optimizer: torch.optim.Optimizer,
    fabric: Fabric,
    ema: Ema,
    history: History,
) -> None:
    learned.load_state_dict(values["learned"])
    optimizer.load_state_dict(values["optimizer"])
    fabric._precision.load_state_dict(values["precision"])
    ema.load_state_dict(values["ema"])
    history.rows, history.seconds, history.best = values["rows"], values["seconds"], values["best"]
    set_random_state(values["random"])
