"""In which precision a layer multiplies, under autocast or not."""

from __future__ import annotations

import torch
from torch import Tensor


def of_products(input: Tensor) -> torch.dtype:
    """What convolutions and linear layers compute in, given this input."""
    device = input.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype


def slow_products(input: Tensor) -> bool:
    """Whether products take most of a layer's time: in fp32 on the CPU, where saving them pays."""
    return input.device.type == "cpu" and of_products(input) == torch.float32
