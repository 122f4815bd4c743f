"""Exponential moving average of everything that trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vision_lora.training.loop.flat import Flat


class Ema:
    """Averaged copy of what trains (Polyak & Juditsky 1992): parameters, and buffers such as BatchNorm's.

    Args:
        flat: the parameters.
        module: that they belong to, for its buffers.
        decay: weight of the old average in a step; early steps use (1 + steps) / (10 + steps) where that is smaller,
            so that the initial values fade. 0 follows the module.
    """

    def __init__(self, flat: Flat, module: nn.Module, decay: float) -> None:
        self.flat = flat
        self.decay = decay
        self.steps = 0
        tensors = [*(whole.detach() for whole in flat.tensors), *module.buffers()]
        self.floats = [tensor for tensor in tensors if tensor.dtype.is_floating_point]  # not BatchNorm's counters
        self.average = [tensor.clone() for tensor in self.floats]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present values."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, self.floats, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """What trains is the average for a while."""
        present = [tensor.clone() for tensor in self.floats]
        self._become(self.average)
        try:
            yield
        finally:
            self._become(present)

    @torch.no_grad()
    def _become(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(self.floats, values)
        self.flat.changed()

    def state_dict(self) -> dict[str, int | list[Tensor]]:
        """What `load_state_dict` needs to go on."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict[str, int | list[Tensor]]) -> None:
        """Go on from an earlier `state_dict`."""
        steps, average = state["steps"], state["average"]
        assert isinstance(steps, int)
        assert isinstance(average, list)
        self.steps = steps
        for tensor, saved in zip(self.average, average, strict=True):
            tensor.copy_(saved)
