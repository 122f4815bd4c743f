"""Exponential moving average of everything that trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averaged copy of a module's state (Polyak & Juditsky 1992): parameters, and buffers such as BatchNorm's.

    Args:
        module: what trains.
        decay: weight of the old average in a step; early steps use (1 + steps) / (10 + steps) where that is smaller,
            so that the initial values fade. 0 follows the module.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.steps = 0
        self.average = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's present values."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        present = self.module.state_dict()
        floats = [name for name, tensor in present.items() if tensor.dtype.is_floating_point]
        # All at once: one by one, their hundreds of tiny kernels take a GPU longer than the arithmetic.
        torch._foreach_lerp_([self.average[name] for name in floats], [present[name] for name in floats], 1 - decay)
        for name in present.keys() - floats:
            self.average[name].copy_(present[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average for a while."""
        present = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self.average)
        try:
            yield
        finally:
            self.module.load_state_dict(present)

    def state_dict(self) -> dict[str, Tensor | int]:
        """What `load_state_dict` needs to go on."""
        return {"steps": self.steps, **{f"average.{name}": tensor for name, tensor in self.average.items()}}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Go on from an earlier `state_dict`."""
        self.steps = int(state["steps"])
        for name, tensor in self.average.items():
            saved = state[f"average.{name}"]
            assert isinstance(saved, Tensor)
            tensor.copy_(saved)
