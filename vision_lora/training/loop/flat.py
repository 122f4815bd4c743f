"""Everything that trains in a few long tensors, so that clipping, AdamW and averaging are a few operations a step.

An adapter has some 370 small parameters. One by one, each of these takes a GPU's host, and a CPU, longer than the
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

ALIGN = 64  # numbers: each part begins where a tensor of its own would, since kernels load several numbers at a time


class Flat:
    """Groups of parameters, each moved into one tensor; the parameters stay, as parts of it, and so do their gradients.

    Args:
        groups: for an optimizer: `params`, all on the device where they will stay, and the group's settings.

    Attributes:
        groups: the same for the long tensors.
        parameters: the parts.
        gradients: of the parts; their sums in the long tensors' `grad`.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self.groups: list[dict[str, Any]] = []
        self.parameters: list[nn.Parameter] = []
        self.gradients: list[Tensor] = []
        for group in groups:
            parts: list[nn.Parameter] = list(group["params"])
            if not parts:
                continue
            sizes = [math.ceil(part.numel() / ALIGN) * ALIGN for part in parts]
            whole = nn.Parameter(parts[0].new_zeros(sum(sizes)))
            whole.grad = torch.zeros_like(whole)
            for part, start in zip(parts, accumulate(sizes, initial=0), strict=False):
                place = slice(start, start + part.numel())
                whole.data[place] = _in_memory(part.detach()).flatten()
                part.data = _shaped(whole.data[place], part)
                part.grad = _shaped(whole.grad[place], part)
                self.parameters.append(part)
                self.gradients.append(part.grad)
            self.groups.append({**group, "params": [whole]})

    @property
    def tensors(self) -> list[nn.Parameter]:
        """The long tensors."""
        return [whole for group in self.groups for whole in group["params"]]

    def zero_grad(self) -> None:
        """Set the gradients to zero; they stay where they are."""
        for whole in self.tensors:
            assert whole.grad is not None, "it was made with the tensor"
            whole.grad.zero_()

    def changed(self) -> None:
        """Tell whoever keeps something made of the parts that their numbers are others now."""
        for part in self.parameters:
            torch.autograd.graph.increment_version(part)


def _in_memory(tensor: Tensor) -> Tensor:
    """The numbers in the order in which they lie: a convolution's weight may have its channels last."""
    return tensor.permute(0, 2, 3, 1) if _channels_last(tensor) else tensor


def _shaped(numbers: Tensor, like: Tensor) -> Tensor:
    """A part of a long tensor in a parameter's shape and memory format."""
    return numbers.view(_in_memory(like).shape).permute(0, 3, 1, 2) if _channels_last(like) else numbers.view_as(like)


def _channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
