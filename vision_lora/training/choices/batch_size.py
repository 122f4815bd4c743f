"""`--batch auto`: pictures a step that a GPU has memory for, and rates that mean the same; which batch cannot fit."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from vision_lora.datasets.batches.batch import Batch
from vision_lora.datasets.batches.noise import noise_batch
from vision_lora.errors import ConfigError
from vision_lora.options.train import BATCH, TrainConfig
from vision_lora.system.devices import make_fabric
from vision_lora.training.job import Data, objective_of
from vision_lora.training.loop.graphs import obstacle
from vision_lora.training.loop.learning import Learning
from vision_lora.training.methods import make_learner
from vision_lora.training.replay import replayed

COUNTS = (4, 12)  # pictures in the two steps that are measured
SHARE = 0.6  # of the memory that other programs leave: the rest is for cuDNN's workspaces, validation and fragments
# Steps an epoch has at least: as many as the smallest data set's has with the recipe's batch (--draws 500). What it
# learns in fewer, larger steps has not been looked at.
STEPS = 31
LARGEST = 64  # four times the recipe's: the square root's rule is an approximation, and a GPU is busy by then

Peak = Callable[[Callable[[], object]], int]


@dataclass(frozen=True)
class Memory:
    """Most bytes that a training step takes: a line through two that were measured.

    Attributes:
        fixed: whatever the batch.
        a_picture: for each picture of it.
    """

    fixed: float
    a_picture: float

    @classmethod
    def through(cls, first: tuple[int, int], second: tuple[int, int]) -> Memory:
        """The line through two measurements, each of pictures and bytes.

        Examples:
            >>> Memory.through((4, 500), (12, 900))
            Memory(fixed=300.0, a_picture=50.0)
        """
        slope = max(1.0, (second[1] - first[1]) / (second[0] - first[0]))
        return cls(max(0.0, first[1] - slope * first[0]), slope)

    def bytes(self, pictures: int) -> float:
        """Of a step of so many pictures."""
        return self.fixed + self.a_picture * pictures

    def pictures(self, room: float) -> int:
        """The most that fit into so many bytes."""
        return max(0, int((room - self.fixed) / self.a_picture))


@dataclass(frozen=True)
class Choice:
    """A batch, over all devices, and why it is no other."""

    batch: int
    why: str


def choose(memory: Memory, free: int, drawn: int, devices: int = 1) -> Choice:
    """The largest batch that memory, the steps of an epoch and the recipe's rates allow.

    Args:
        memory: of a step on one device.
        free: bytes of a device that other programs leave.
        drawn: pictures in an epoch.
        devices: that divide the batch among them.

    Examples:
        >>> choose(Memory(2**30, 90 * 2**20), 78 * 2**30, drawn=1260)
        Choice(batch=40, why='1260 pictures an epoch make 31 steps')
        >>> choose(Memory(2**30, 90 * 2**20), 6 * 2**30, drawn=100000)
        Choice(batch=29, why='60% of the 6.0 GiB that are free')
    """
    limits = {
        f"{SHARE:.0%} of the {free / 2**30:.1f} GiB that are free": devices * memory.pictures(SHARE * free),
        f"{drawn} pictures an epoch make {STEPS} steps": max(BATCH, drawn // STEPS),
        "the most that the recipe's rates are scaled to": LARGEST,
    }
    why = min(limits, key=lambda limit: limits[limit])
    return Choice(devices * max(1, limits[why] // devices), why)


def scaled(config: TrainConfig, batch: int) -> TrainConfig:
    """The options with another batch, and with rates that do to a picture what they did with the recipe's.

    Adam's learning rate grows with the square root of the batch (Malladi et al. 2022, On the SDEs and Scaling Rules for
    Adaptive Gradient Algorithms; its moments' decays are left as they are). The average's decay is taken once for each
    of the steps that one now stands for (Busbridge et al. 2023, How to Scale Your EMA). Warm-up, schedule and patience
    count epochs, and stay.

    Examples:
        >>> config = scaled(TrainConfig(data="data.yaml", batch="auto"), 64)
        >>> config.batch, config.lr, round(config.ema, 4)
        (64, 0.008, 0.9801)
    """
    ratio = batch / BATCH
    return replace(config, batch=batch, lr=config.peak_lr * math.sqrt(ratio), ema=config.ema**ratio)


def decide(
    data: Data, device: torch.device, before: int | None, *, peak: Peak | None = None, free: int | None = None
) -> tuple[TrainConfig, str]:
    """The options with the batch that `--batch auto` stands for, and a line about it; a given batch has to fit.

    Args:
        data: options and pictures.
        device: of the run, or the first of several; only a CUDA GPU is asked for its memory.
        before: what an interrupted run has chosen.
        peak: gives the most bytes of the device that a function took.
        free: bytes of it that other programs leave.

    Raises:
        ConfigError: a larger batch than the recipe's was given, and does not fit.
    """
    config = data.config
    asked = peak is not None or device.type == "cuda"
    if config.batch != "auto" and (before is not None or not asked or config.batch <= BATCH):
        return config, ""
    if before is not None:
        choice = Choice(before, "as the run was started with")
    elif not asked:
        choice = Choice(max(BATCH, config.devices), "the recipe's: only of a CUDA GPU it is known what fits")
    else:
        free = free or _cuda_free(device)
        memory = measured(data, peak or partial(_cuda_peak, device))
        if device.type == "cuda":
            _empty(device)  # of the learner that was thrown away
        if config.batch != "auto":
            _expect_room(config, memory, free)
            return config, ""
        choice = choose(memory, free, max(config.draws, len(data.opened.train)), config.devices)
    config = scaled(config, choice.batch)
    return config, (
        f"{choice.batch} pictures a step ({choice.why}), learning rate {config.peak_lr:.2g}, decay of the average "
        f"{config.ema:.4g}"
    )


def measured(data: Data, peak: Peak) -> Memory:
    """What training steps of the run take, by two steps of a learner that is thrown away.

    Where layers are still to be chosen within a budget, it adapts them all.

    Args:
        data: options and pictures, whose most boxes every picture of the steps has.
        peak: see `decide`.

    Raises:
        ConfigError: not even the smaller step fits.
    """
    config, names = data.config, data.opened.dataset.names
    fabric = make_fabric(config.device, config.precision)
    learner = make_learner(config, names)
    detector, replay = learner.detector, _Replayed(config, learner.detector.side)
    objective = objective_of(config, learner, names, replay)
    learning = Learning(detector.network, learner.learned, objective, config, fabric)
    objective.begin_epoch(0, config.epochs)
    room = config.graphs == "auto" and config.devices == 1 and not obstacle(detector, fabric)
    boxes = max(1, *(len(sample.boxes) for sample in data.opened.train))

    def step(count: int) -> None:
        replay.beside = count
        batch = _noise(config.imgsz, count, len(names), boxes)
        learning.step((batch.with_room() if room else batch).to(fabric.device), config.peak_lr)

    few, more = COUNTS
    try:
        step(few)  # leaves AdamW's moments, and what is made once
        first = few, peak(partial(step, few))
    except torch.cuda.OutOfMemoryError as error:
        raise ConfigError(
            f"--batch {config.batch}: not even {few} pictures of {config.imgsz} px fit into the device's memory; "
            f"try --batch {few // 2}, --variant lora-fa, which needs about half as much, or a smaller --imgsz"
        ) from error
    try:
        second = more, peak(partial(step, more))
    except torch.cuda.OutOfMemoryError:
        second = 0, 0  # so the line counts all of the first for its pictures: no more will be chosen than fit
    return Memory.through(first, second)


class _Replayed:
    """Noise in the place of the pictures that a joint run replays.

    Args:
        config: the run's options.
        side: of the pictures that the base was trained on, pixels.

    Attributes:
        beside: pictures to learn from in a step.
    """

    def __init__(self, config: TrainConfig, side: int) -> None:
        self._imgsz, self._side = config.imgsz, side
        self.beside = 1

    def set_epoch(self, epoch: int) -> None:
        """Nothing."""

    def __iter__(self) -> Iterator[Batch]:
        while True:
            side, count = replayed(self.beside, self._imgsz, self._side)
            yield _noise(side, count, 1, 1)


def _noise(imgsz: int, count: int, classes: int, boxes: int) -> Batch:
    images, targets = noise_batch(imgsz, count, classes, seed=0, boxes=boxes)
    return Batch(images, targets, *(torch.zeros(count),) * 3)


def _expect_room(config: TrainConfig, memory: Memory, free: int) -> None:
    """Raises ConfigError where a step is larger than what is free."""
    needed = memory.bytes(-(-config.batch_size // config.devices))
    if needed > free:
        fits = config.devices * memory.pictures(free)
        raise ConfigError(
            f"--batch {config.batch}: a step of so many pictures of {config.imgsz} px takes about "
            f"{needed / 2**30:.0f} GiB on a device, and {free / 2**30:.0f} are free there; expected at most {fits}, "
            f"or --batch auto, or --variant lora-fa, which needs about half as much"
        )


def _cuda_peak(device: torch.device, work: Callable[[], object]) -> int:
    """Most bytes that tensors took on a GPU while something was done."""
    _empty(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def _cuda_free(device: torch.device) -> int:
    """Bytes of a GPU that other programs leave."""
    _empty(device)
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


def _empty(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    with torch.cuda.device(device):
        torch.cuda.empty_cache()
