"""Backward through the factors: gradients of A and B without the gradient of the whole weight.

Autograd finds the gradients of A and B in dW', the gradient of the effective weight, which costs a third of a training
step. But with u = s (1 + g) Bᵀ·dy, which has rank channels, those of (W + s·B·A)(1 + g), b(1 + g) + t are

    dA = Σ u ⊗ x,    dB = s (1 + g) · Σ dy ⊗ (A·x),    dg = Σ dy (y - t) / (1 + g),    dt = Σ dy,

sums over pictures and positions: thin products (Hu et al. 2021, section 4.1, in the merged form). The output y is what
the next activation keeps anyway. Where A is frozen (LoRA-FA: Zhang et al. 2023, section 3.1) the layer's input is not
kept either, most of what training has in memory: A·x takes its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vision_lora.adapters.weights import compute
from vision_lora.adapters.weights.deltas import Delta, FrozenDown, LowRank, RankStabilised

# Thin products run far below a processor's peak, and reading dy and y for dg is not free. From weights with this many
# times the numbers of their factors on, they take less time than dW' (YOLO11n, two CPU cores, fp32).
PAYS = 7
SILENT = 1e-3  # |1 + g| below which a channel counts as switched off


def applies(layer: nn.Module, delta: Delta, input: Tensor) -> bool:
    """Whether a layer with this delta is to be trained through its factors.

    With a frozen A always: the memory is what it is for. With a learned A on the CPU, where it takes less time: linear
    layers always, convolutions in fp32. Theirs in bf16 are so fast that reading dy and y decides: a step of YOLO11n
    took 1.04 times as long. Not on a GPU, which small networks leave idle: there the number of kernels counts, of which
    this has more.
    """
    if getattr(layer, "overwritten", False) or (isinstance(delta, LowRank) and delta.norm is not None):
        return False
    if isinstance(layer, nn.Conv2d):
        # Grouped layers share A between groups, so A·x would be r per group.
        fits, pays = compute.pads_zeros(layer) and layer.groups == 1, compute.slow(input)
    else:
        fits, pays = isinstance(layer, nn.Linear), input.device.type == "cpu"
    if not fits or isinstance(delta, FrozenDown):
        return fits
    if type(delta) not in (LowRank, RankStabilised) or not pays:
        return False
    return layer.weight.numel() >= PAYS * (delta.up.numel() + delta.down.numel())  # type: ignore[operator]


def run(layer: nn.Conv2d | nn.Linear, delta: LowRank, rows: Tensor, input: Tensor) -> Tensor:
    """Compute a convolution or a linear layer with its delta, ready for a backward through the factors.

    Args:
        layer: Conv2d or Linear.
        delta: low rank, for which `applies`.
        rows: the layer's weight, (out, columns).
        input: (B, in, H, W) or (..., in).

    Returns:
        (B, out, H', W') or (..., out).
    """
    dtype = compute.dtype_of(input)
    with torch.autocast(input.device.type, enabled=False):
        with torch.no_grad():
            weight, bias = delta(rows, layer.bias)
        settings = compute.settings_of(layer) if isinstance(layer, nn.Conv2d) else None
        output: Tensor = _Factored.apply(
            input.to(dtype),
            weight.view_as(layer.weight).to(dtype),
            None if bias is None else bias.to(dtype),
            delta.down,
            delta.up,
            delta.gain,
            delta.shift,
            delta.strength,
            settings,
        )
        return output


class _Factored(torch.autograd.Function):
    """Convolution of (B, in, H, W), or linear layer of (..., in) where there are no convolution settings."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,  # W'
        bias: Tensor | None,  # b'
        down: Tensor,  # A
        up: Tensor,  # B
        gain: Tensor,
        shift: Tensor | None,
        strength: float,
        settings: tuple[Any, ...] | None,
    ) -> Tensor:
        output = _product(input, weight, bias, settings)
        # What A is multiplied with where it learns; only the product where it does not.
        seen = input if down.requires_grad else _product(input, _kernel(down, weight), None, settings)
        ctx.save_for_backward(seen, output, weight, down, up, gain, shift)
        ctx.strength, ctx.settings, ctx.shape = strength, settings, input.shape
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        seen, output, weight, down, up, gain, shift = ctx.saved_tensors
        settings, learns_down = ctx.settings, ctx.needs_input_grad[3]
        grad_input = _grad_input(grad, ctx.shape, weight, settings) if ctx.needs_input_grad[0] else None
        factor = 1 + gain
        scale = (ctx.strength * factor)[:, None]  # s (1 + g)
        low = _product(seen, _kernel(down, weight), None, settings) if learns_down else seen  # A·x
        grad_down = _grad_down(grad, seen, up * scale, down, weight, settings) if learns_down else None
        # One row a position: dy and y are (positions, out), A·x is (positions, rank). The thin factor comes first in
        # the product: the other way round takes four times as long on the CPU.
        dy, y, ax = (_positions(tensor, settings) for tensor in (grad, output, low))
        grad_up = (ax.t() @ dy).t().float() * scale
        total = dy.sum(0).float()
        # Not an einsum: as a product of rows with rows it takes 20 times as long on the CPU.
        product = (dy * y).sum(0).float()  # Σ dy·y
        # A channel that g has all but switched off: y - t is rounding there, not to be blown up.
        audible = factor.abs().clamp_min(SILENT).copysign(factor)
        grad_gain = (product if shift is None else product - total * shift) / audible
        grad_shift = None if shift is None else total
        return grad_input, None, None, grad_down, grad_up, grad_gain, grad_shift, None, None


def _product(input: Tensor, weight: Tensor, bias: Tensor | None, settings: tuple[Any, ...] | None) -> Tensor:
    return F.linear(input, weight, bias) if settings is None else F.conv2d(input, weight, bias, *settings)


def _kernel(down: Tensor, weight: Tensor) -> Tensor:
    """A as a weight of the layer's kind with rank output channels."""
    return down.detach().view(-1, *weight.shape[1:]).to(weight.dtype)


def _grad_down(
    grad: Tensor, input: Tensor, scaled: Tensor, down: Tensor, weight: Tensor, settings: tuple[Any, ...] | None
) -> Tensor:
    """Gradient of A: Σ u ⊗ x, (rank, columns)."""
    scaled = scaled.to(grad.dtype)
    if settings is None:
        u = scaled.t() @ _positions(grad, settings).t()  # (rank, positions)
        return (u @ _positions(input, settings)).float()
    u = F.conv2d(grad, scaled.t()[:, :, None, None])  # as a plain product it takes twice as long on the CPU
    gradient = compute.convolution_backward(u, input, _kernel(down, weight), settings, (False, True))[1]
    assert gradient is not None, "it is wanted"
    return gradient.reshape_as(down).float()


def _grad_input(grad: Tensor, shape: torch.Size, weight: Tensor, settings: tuple[Any, ...] | None) -> Tensor:
    if settings is None:
        return grad @ weight
    # Only the shape of this one is read. An expanded tensor would do, but sends the CPU to a slow path.
    like = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)
    gradient = compute.convolution_backward(grad, like, weight, settings, (True, False))[0]
    assert gradient is not None, "it is wanted"
    return gradient


def _positions(tensor: Tensor, settings: tuple[Any, ...] | None) -> Tensor:
    """Channels last, everything else in one axis."""
    return tensor.flatten(0, -2) if settings is None else tensor.permute(0, 2, 3, 1).flatten(0, 2)
