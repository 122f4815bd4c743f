"""Convolution whose bias gets its gradient apart from the weight's.

On the CPU a convolution's backward in fp32 that is asked for the bias as well takes a slower way to the weight's
gradient, up to three times as long. On a GPU PyTorch's own sum over pictures and positions takes an eighth of a
training step, twice as long as a product with ones. Folded networks have a bias in every convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vision_lora.adapters.weights import compute


def applies(layer: nn.Conv2d, input: Tensor) -> bool:
    """Whether a convolution with a bias gains by it: in fp32 on the CPU, or on a GPU; where zeros are padded."""
    return compute.pads_zeros(layer) and (input.device.type == "cuda" or compute.slow(input))


def run(layer: nn.Conv2d, weight: Tensor, bias: Tensor, input: Tensor) -> Tensor:
    """Convolve with the settings of `layer`, for which `applies`.

    Args:
        layer: whose stride, padding, dilation and groups count.
        weight: (out, in / groups, k, k).
        bias: (out,).
        input: (B, in, H, W).

    Returns:
        (B, out, H', W').
    """
    dtype = compute.dtype_of(input)
    with torch.autocast(input.device.type, enabled=False):
        output: Tensor = _BiasApart.apply(input.to(dtype), weight.to(dtype), bias.to(dtype), compute.settings_of(layer))
    return output


class _BiasApart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, settings: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.settings = settings
        return F.conv2d(input, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        grad_input, grad_weight = compute.convolution_backward(grad, x, weight, ctx.settings, wanted)
        return grad_input, grad_weight, compute.channel_sum(grad), None
