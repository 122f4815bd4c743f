"""A batch to measure with."""

from __future__ import annotations

import torch
from torch import Tensor

BOXES = 4  # a picture; enough that assignment is not idle


def noise_batch(imgsz: int, batch: int, classes: int, seed: int, boxes: int = BOXES) -> tuple[Tensor, Tensor]:
    """Noise with a few boxes: what a step costs does not depend on what a picture shows.

    Args:
        imgsz: side of the square pictures, pixels.
        batch: number of pictures.
        classes: that the boxes have.
        seed: of everything.
        boxes: of a picture.

    Returns:
        Pictures, (B, 3, S, S) uint8, channels last, and targets, (M, 6): index in the batch, class, x1, y1, x2, y2.

    Examples:
        >>> images, targets = noise_batch(64, 2, classes=3, seed=0)
        >>> tuple(images.shape), targets.shape[1], int(targets[:, 1].max()) < 3
        ((2, 3, 64, 64), 6, True)
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, 3, imgsz, imgsz), dtype=torch.uint8, generator=generator)
    corner = torch.rand(batch * boxes, 2, generator=generator) * 0.6 * imgsz
    size = (0.1 + 0.3 * torch.rand(batch * boxes, 2, generator=generator)) * imgsz
    index = torch.arange(batch).repeat_interleave(boxes).float()[:, None]
    label = torch.randint(0, classes, (batch * boxes, 1), generator=generator).float()
    return images.contiguous(memory_format=torch.channels_last), torch.cat((index, label, corner, corner + size), 1)
