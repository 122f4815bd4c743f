"""Losses of a batch that several processes divide among them.

A loss is a sum over a count: of boxes, of assigned scores, of pictures. Each process knows its own pictures' sum and
count, and data-parallel training averages the processes' gradients. The average is that of one process with the whole
batch where each process divides by the processes' mean count instead of its own: sum_k / (count / n), averaged over n
processes, is sum / count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

_present = True  # whether this process's pictures count


def several() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def counting(present: bool) -> Iterator[None]:  # noqa: FBT001 - the one thing that it says
    """Whether this process's pictures count in the losses that are computed meanwhile.

    Processes step together: one for which a small last batch has no picture goes along with one that does not count.
    """
    global _present  # noqa: PLW0603 - losses of several libraries ask for it, far below where it is known
    before, _present = _present, present
    try:
        yield
    finally:
        _present = before


def summed(value: Tensor) -> Tensor:
    """The sum of a value over all processes; every one of them has to ask for it. No gradient goes through it."""
    if not several():
        return value.detach()
    total = value.detach().clone() if _present else torch.zeros_like(value)
    dist.all_reduce(total)
    return total


def part(own: Tensor | float, total: Tensor) -> Tensor:
    """What a loss that was divided by `own` is multiplied with, to be this process's part of the whole batch's.

    Args:
        own: what this process's loss was divided by.
        total: what the whole batch's loss is divided by.

    Returns:
        The factor, of `total`'s shape; own / total where this is the only process.
    """
    processes = dist.get_world_size() if several() else 1
    return own * (processes if _present else 0) / total


def share(count: Tensor | int, like: Tensor) -> Tensor:
    """As `part`, for a loss that was divided by a count of at least 1.

    Args:
        count: of this process's boxes, pictures or whatever it is a mean over.
        like: a tensor on the device that the loss is on.
    """
    own = torch.as_tensor(count, dtype=torch.float32, device=like.device)
    return part(own.clamp(min=1), summed(own).clamp(min=1))
