"""Running statistics of several processes: each has seen its own part of every batch."""

from __future__ import annotations

import torch
from torch import distributed as dist
from torch import nn

from vision_lora.adapters.weights.live import LiveNorm
from vision_lora.detectors.losses.share import several


@torch.no_grad()
def average_statistics(learned: nn.Module) -> None:
    """Make the running statistics of live BatchNorm the means over all processes; every one of them has to call it.

    Without, those of the first process would be taken for all.
    """
    if not several():
        return
    found = [tensor for layer in learned.modules() if isinstance(layer, LiveNorm) for tensor in (layer.mean, layer.var)]
    if not found:
        return
    flat = torch.cat(found)
    dist.all_reduce(flat)
    parts = (flat / dist.get_world_size()).split([len(tensor) for tensor in found])
    torch._foreach_copy_(found, list(parts))
