"""A batch to measure with, and what a training step keeps of it for the backward."""

from __future__ import annotations

import gc

import torch
from torch import Tensor, nn

from vision_lora.detectors.base import Detector

BOXES = 4  # a picture; enough that assignment is not idle


def noise_batch(imgsz: int, batch: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with a few boxes: what a step costs does not depend on what a picture shows.

    Args:
        imgsz: side of the square pictures, pixels.
        batch: number of pictures.
        classes: that the boxes have.
        seed: of everything.

    Returns:
        Pictures, (B, 3, S, S) uint8, channels last, and targets, (M, 6): index in the batch, class, x1, y1, x2, y2.

    Examples:
        >>> images, targets = noise_batch(64, 2, classes=3, seed=0)
        >>> tuple(images.shape), targets.shape[1], int(targets[:, 1].max()) < 3
        ((2, 3, 64, 64), 6, True)
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, 3, imgsz, imgsz), dtype=torch.uint8, generator=generator)
    corner = torch.rand(batch * BOXES, 2, generator=generator) * 0.6 * imgsz
    size = (0.1 + 0.3 * torch.rand(batch * BOXES, 2, generator=generator)) * imgsz
    index = torch.arange(batch).repeat_interleave(BOXES).float()[:, None]
    label = torch.randint(0, classes, (batch * BOXES, 1), generator=generator).float()
    return images.contiguous(memory_format=torch.channels_last), torch.cat((index, label, corner, corner + size), 1)


def saved_mib(detector: Detector, learned: nn.Module, images: Tensor, targets: Tensor, dtype: str) -> float:
    """Memory that autograd keeps between forward and backward, each storage once, without parameters and pictures, MiB.

    Args:
        detector: to be trained, on the CPU.
        learned: the module whose parameters change.
        images: (B, 3, S, S) uint8 RGB.
        targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels.
        dtype: fp32 or bf16.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in (*detector.network.parameters(), *learned.parameters())}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is given out twice while counting

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"),
    ):
        losses = detector.losses(images, targets)
    size = sum(kept.values()) / 2**20
    alive.clear()
    del losses
    gc.collect()
    return size
