"""Layers whose backward does not need their input: the low-memory path of frozen projections.

The gradient of a full weight needs the layer's input, most of what training keeps in memory. Where A is frozen,
only B, g and t of (W + s·B·A)(1 + g), b(1 + g) + t are learned (LoRA-FA: Zhang et al. 2023, section 3.1), and the input
enters their gradients through A·x alone, which has rank channels, and through the output y, which the activation keeps
anyway:

    dB = s (1 + g) · Σ dy ⊗ (A·x),    dg = Σ dy (y - t) / (1 + g),    dt = Σ dy,    sums over pictures and positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vision_lora.adapters.deltas import Delta, FrozenDown


def applies(layer: nn.Module, delta: Delta) -> bool:
    """Whether a layer with this delta can be trained without keeping its input."""
    if not isinstance(delta, FrozenDown):
        return False
    if isinstance(layer, nn.Conv2d):
        # Padding with zeros is part of the kernel; grouped layers share A between groups, so A·x would be r per group.
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and layer.groups == 1
    return isinstance(layer, nn.Linear)


def run(layer: nn.Conv2d | nn.Linear, delta: FrozenDown, rows: Tensor, input: Tensor) -> Tensor:
    """Compute a convolution or a linear layer with its delta, ready for a backward without the input.

    Args:
        layer: Conv2d or Linear.
        delta: low rank with a frozen A.
        rows: the layer's weight, (out, columns).
        input: (B, in, H, W) or (..., in).

    Returns:
        (B, out, H', W') or (..., out).
    """
    device = input.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
    with torch.autocast(device, enabled=False):
        with torch.no_grad():
            weight, bias = delta(rows, layer.bias)
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups) if isinstance(layer, nn.Conv2d) else None
        output: Tensor = _InputFree.apply(
            input.to(dtype),
            weight.view(-1, *layer.weight.shape[1:]).to(dtype),
            None if bias is None else bias.to(dtype),
            delta.down.detach().view(-1, *layer.weight.shape[1:]).to(dtype),
            delta.up,
            delta.gain,
            delta.shift,
            delta.strength,
            settings,
        )
        return output


class _InputFree(torch.autograd.Function):
    """Convolution of (B, in, H, W), or linear layer of (..., in) where there are no convolution settings."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,  # W'
        bias: Tensor | None,  # b'
        down: Tensor,  # A
        up: Tensor,  # noqa: ARG004 - B: W' holds it, but its gradient is asked for here
        gain: Tensor,
        shift: Tensor | None,
        strength: float,
        settings: tuple[Any, ...] | None,
    ) -> Tensor:
        def run(rows: Tensor, bias: Tensor | None) -> Tensor:
            return F.linear(input, rows, bias) if settings is None else F.conv2d(input, rows, bias, *settings)

        output = run(weight, bias)
        low = run(down, None)  # A·x
        ctx.save_for_backward(output, low, weight, gain, shift)
        ctx.strength, ctx.settings, ctx.shape = strength, settings, input.shape
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        output, low, weight, gain, shift = ctx.saved_tensors
        grad_input = _grad_input(ctx, grad, weight) if ctx.needs_input_grad[0] else None
        # One row a position: dy and y are (positions, out), A·x is (positions, rank).
        dy, y = (_positions(tensor, ctx.settings) for tensor in (grad, output))
        total = dy.sum(0).float()
        # Not an einsum: as a product of rows with rows it takes 20 times as long on the CPU.
        product = (dy * y).sum(0).float()  # Σ dy·y
        factor = 1 + gain
        grad_gain = (product if shift is None else product - total * shift) / factor
        grad_shift = None if shift is None else total
        grad_up = (dy.t() @ _positions(low, ctx.settings)).float() * (ctx.strength * factor)[:, None]
        return grad_input, None, None, None, grad_up, grad_gain, grad_shift, None, None


def _grad_input(ctx: Any, grad: Tensor, weight: Tensor) -> Tensor:
    if ctx.settings is None:
        return grad @ weight
    stride, padding, dilation, groups = ctx.settings
    # Only the shape of this one is read. An expanded tensor would do, but sends the CPU to a slow path.
    like = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grad, like, weight, None, stride, padding, dilation, False, [0], groups, [True, False, False]
    )[0]
    return gradient


def _positions(tensor: Tensor, settings: tuple[Any, ...] | None) -> Tensor:
    """Channels last, everything else in one axis."""
    return tensor.flatten(0, -2) if settings is None else tensor.permute(0, 2, 3, 1).flatten(0, 2)
