"""What the products of a layer are computed in, under autocast or not, and whether that is slow."""

from __future__ import annotations

import torch
from torch import Tensor


def dtype_of(input: Tensor) -> torch.dtype:
    """What convolutions and linear layers compute in, given this input."""
    device = input.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype


def slow(input: Tensor) -> bool:
    """Whether products take most of a layer's time: in fp32 on the CPU, where saving them pays."""
    return input.device.type == "cpu" and dtype_of(input) == torch.float32
