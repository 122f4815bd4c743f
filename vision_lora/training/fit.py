"""The training loop: reads from top to bottom, for adapters and for full fine-tuning alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vision_lora.config import TrainConfig
from vision_lora.datasets.loader import TrainLoader
from vision_lora.errors import TrainingError
from vision_lora.outputs import write_torch
from vision_lora.training.ema import Ema
from vision_lora.training.objective import Objective

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
        seconds: of each training step, loading not counted.
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

    def forward(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Losses by name, see `Objective`."""
        return self._objective(images, targets)


def fit(
    network: nn.Module,
    learned: nn.Module,
    objective: Objective,
    batches: TrainLoader,
    validate: Callable[[], tuple[float, float]],
    save: Callable[[str], None],
    config: TrainConfig,
    fabric: Fabric,
    state_file: Path,
    listener: Listener,
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
        state_file: where everything needed to go on is written after each epoch; read first where it exists.
        listener: is told of each step and epoch.

    Raises:
        TrainingError: a loss is not a number.
        KeyboardInterrupt: after the last weights were saved.
    """
    # One kernel for hundreds of small tensors. It would scale fp16's gradients by itself, after they were clipped.
    fused = config.precision != "fp16"
    optimizer = torch.optim.AdamW(parameter_groups(learned, config), lr=config.peak_lr, fused=fused)
    step, optimizer = fabric.setup(Step(network, learned, objective), optimizer)
    ema = Ema(learned, config.ema)
    history = History()
    if state_file.exists():
        _load_state(state_file, learned, optimizer, ema, history)
    warmup = max(1, round(config.warmup * len(batches)))

    try:
        for epoch in range(len(history.rows), config.epochs):
            batches.set_epoch(epoch)
            side = side_at(epoch, config)
            objective.begin_epoch(epoch, config.epochs)
            means: dict[str, float] = {}
            pictures, started = 0, time.perf_counter()
            for index, batch in enumerate(batches):
                batch = batch.to(fabric.device, non_blocking=True).resized(side)
                began = time.perf_counter()
                done, steps = epoch * len(batches) + index, config.epochs * len(batches)
                lr = config.peak_lr * schedule(done, steps, warmup)
                for group in optimizer.param_groups:
                    group["lr"] = lr * group["ratio"]
                losses = step(batch.images, batch.targets)
                stacked = torch.stack(list(losses.values()))
                fabric.backward(stacked.sum())
                fabric.clip_gradients(step, optimizer, max_norm=config.clip, error_if_nonfinite=False)
                optimizer.step()
                optimizer.zero_grad()
                ema.update()
                # Read as a list: one wait for the device, not one a loss.
                for name, value in zip(losses, stacked.tolist(), strict=True):
                    means[name] = means.get(name, 0.0) + (value - means.get(name, 0.0)) / (index + 1)
                if not all(map(math.isfinite, means.values())):
                    raise TrainingError(
                        f"epoch {epoch + 1}, step {index + 1}: the loss is not a number ({means}); "
                        f"try --lr {config.peak_lr / 4:g}, or --precision fp32"
                    )
                history.seconds.append(time.perf_counter() - began)
                pictures += len(batch)
                speed = pictures / (time.perf_counter() - started)
                listener.stepped(epoch + 1, index + 1, len(batches), {**means, "images_per_second": speed})

            with ema.applied():
                # One process measures, and all stop and keep by its word.
                map50_95, map50 = fabric.broadcast(validate() if fabric.is_global_zero else (0.0, 0.0))
                row = {"epoch": epoch + 1, "lr": lr, **means, "map50_95": map50_95, "map50": map50}
                history.rows.append({**row, "images_per_second": speed})
                if best := map50_95 > history.best:
                    history.best = map50_95
                    save("best")
                save("last")
            if fabric.is_global_zero:
                _save_state(state_file, learned, optimizer, ema, history)
            listener.validated(history.rows[-1], best=best)
            fabric.barrier()
            if epoch + 1 - history.best_epoch >= config.patience:
                break
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


def _save_state(file: Path, learned: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, history: History) -> None:
    state = {
        "learned": learned.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": ema.state_dict(),
        "rows": history.rows,
        "seconds": history.seconds,
        "best": history.best,
    }
    write_torch(file, state)  # a run killed while writing keeps the state before


def _load_state(file: Path, learned: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, history: History) -> None:
    state = torch.load(file, map_location="cpu", weights_only=True)
    learned.load_state_dict(state["learned"])
    optimizer.load_state_dict(state["optimizer"])
    ema.load_state_dict(state["ema"])
    history.rows, history.seconds, history.best = state["rows"], state["seconds"], state["best"]
