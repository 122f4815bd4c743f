"""Objective: what a training step makes small."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vision_lora.detectors.base import Detector


class Objective(Protocol):
    """Losses of one batch, in training."""

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Called before each epoch, from 0, for what follows a schedule."""

    def __call__(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Losses by name, as means over the pictures; training minimises their sum.

        Args:
            images: (B, 3, S, S) uint8 RGB.
            targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels.
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

    def __call__(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """See `Objective`."""
        shift = targets.new_tensor([0, self.first, 0, 0, 0, 0])
        return self.detector.losses(images, targets + shift)
