"""Folding: frozen BatchNorm becomes part of its convolution, once, at load."""

from __future__ import annotations

import torch
from torch import nn


def fold_batchnorm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Fold an evaluated BatchNorm into the convolution before it, in place (Ioffe & Szegedy 2015, section 3.1).

    Computed in double precision by single IEEE operations and rounded once, so that every machine gets the same bits:
    an adapter's fingerprint depends on them.

    Args:
        conv: convolution, with or without bias.
        norm: BatchNorm over its output channels, with running statistics.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    factor = gamma / torch.sqrt(variance + norm.eps)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.detach().double()
    weight = conv.weight.detach().double() * factor.view(-1, 1, 1, 1)
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(((bias - mean) * factor + beta).to(dtype), requires_grad=False)
