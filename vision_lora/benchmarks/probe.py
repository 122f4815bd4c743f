"""What a training step keeps for the backward."""

from __future__ import annotations

import gc

import torch
from torch import Tensor, nn

from vision_lora.detectors.base import Detector


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
