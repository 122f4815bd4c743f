"""Self-distillation: a joint pass learns new classes and stays what it was for the old ones.

The teacher is the same network with the adapter off, or with the adapter that training goes on from: no second model.
Learning without Forgetting (Li & Hoiem 2016, eq. 4) for dense detectors, with features beside the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from vision_lora.datasets.batches.batch import Batch
from vision_lora.detectors.base import Detector
from vision_lora.detectors.losses.share import counting

# How much the old classes' scores count on the pictures to learn from. Features and boxes have to change there; scores
# only must not rise where a defect looks like something.
ON_DEFECTS = 0.1


class Replay(Protocol):
    """Batches of everyday pictures, such as a `TrainLoader`'s."""

    def set_epoch(self, epoch: int) -> None:
        """Choose those of the next iteration."""

    def __iter__(self) -> Iterator[Batch]:
        """As many as an epoch has steps."""


class Retaining:
    """The task's losses and the weighted distance from the teacher.

    Args:
        detector: with a joint adapter active.
        replay: pictures that show what has to be kept, no labels needed; as many batches an epoch as training has.
        weight: of the distance.
        teacher: attached adapter that training goes on from, or None for the base.
    """

    def __init__(self, detector: Detector, replay: Replay, weight: float, teacher: str | None) -> None:
        self.detector = detector
        self.replay = replay
        self.weight = weight
        self.teacher = teacher
        self._pictures: Iterator[Batch] = iter(())

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """See `Objective`."""
        self.detector.begin_epoch(epoch, epochs)
        self.replay.set_epoch(epoch)
        self._pictures = iter(self.replay)

    def further(self, device: torch.device) -> tuple[Tensor, ...]:
        """See `Objective`: the next pictures to replay, (B, 3, S, S) uint8."""
        return (next(self._pictures).images.to(device, non_blocking=True),)

    def __call__(self, images: Tensor, targets: Tensor, *further: Tensor) -> dict[str, Tensor]:
        """See `Objective`; `retain` is the distance."""
        (replay,) = further
        prepare = self.detector.prepare
        losses, here = self.detector.retaining_losses(prepare(images), targets, self.teacher)
        with counting(True):  # also where this process has no picture to learn from
            _, there = self.detector.retaining_losses(prepare(replay), None, self.teacher)
        distance = ON_DEFECTS * here["classes"] + torch.stack(list(there.values())).sum()
        return {**losses, "retain": self.weight * distance}
