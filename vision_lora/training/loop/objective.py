"""Objective: what a training step makes small."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from vision_lora.detectors.base import Detector


class Objective(Protocol):
    """Losses of one batch, in training."""

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Called before each epoch, from 0, for what follows a schedule."""

    def further(self, device: torch.device) -> tuple[Tensor, ...]:
        """What a step needs beside its batch, on the device."""

    def __call__(self, images: Tensor, targets: Tensor, *further: Tensor) -> dict[str, Tensor]:
        """Losses by name, as means over the pictures; training minimises their sum.

        Args:
            images: (B, 3, S, S) uint8 RGB.
            targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels; or with room, see `Batch.with_room`.
            further: what `further` gave.
        """


class Task:
    """The detector's own losses, and nothing else.

    Args:
        detector: what is trained.
        first: its class that the dataset's first one is.
    """

    def __init__(self, detector: Detector, first: int = 0) -> None:
        self.detector = detector
        self.first = first

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """See `Objective`."""
        self.detector.begin_epoch(epoch, epochs)

    def further(self, device: torch.device) -> tuple[Tensor, ...]:  # noqa: ARG002 - nothing to put there
        """See `Objective`."""
        return ()

    def __call__(self, images: Tensor, targets: Tensor, *further: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Objective`."""
        if self.first:
            targets = torch.cat((targets[..., :-5], targets[..., -5:-4] + self.first, targets[..., -4:]), -1)
        return self.detector.losses(images, targets)
