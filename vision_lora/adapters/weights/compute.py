"""What the hand-written backwards share: which layers they take, in which precision, and the convolution's own one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def dtype_of(input: Tensor) -> torch.dtype:
    """What convolutions and linear layers compute in, given this input."""
    device = input.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype


def slow(input: Tensor) -> bool:
    """Whether products take most of a layer's time: in fp32 on the CPU, where saving them pays."""
    return input.device.type == "cpu" and dtype_of(input) == torch.float32


def pads_zeros(layer: nn.Conv2d) -> bool:
    """Whether padding is part of the kernel, not a step before it."""
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def settings_of(layer: nn.Conv2d) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups, as `F.conv2d` takes them behind the bias."""
    return layer.stride, layer.padding, layer.dilation, layer.groups


def convolution_backward(
    grad: Tensor, input: Tensor, weight: Tensor, settings: tuple[Any, ...], wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of input and weight that are wanted, never the bias's."""
    stride, padding, dilation, groups = settings
    grad_input, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, input, weight, None, stride, padding, dilation, False, [0], groups, [*wanted, False]
    )
    return grad_input, grad_weight


def channel_sum(grad: Tensor) -> Tensor:
    """Sum of (B, C, H, W) over pictures and positions, (C,): the gradient of a bias."""
    if grad.device.type == "cpu":
        return grad.sum((0, 2, 3))
    # As a product with ones it takes a GPU a third to a half of the time (data/results/gpu/bias_gradient.json).
    rows = grad.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.new_ones(len(rows)) @ rows
