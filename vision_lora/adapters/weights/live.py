"""BatchNorm with the new pictures' own statistics: live in training, folded into scale and shift for good afterwards.

A base's BatchNorm is folded, so a frozen one costs nothing; but its statistics are those of the base's pictures. While
training with live statistics a folded layer takes its BatchNorm back (Ioffe & Szegedy 2015, algorithm 1): with
f = gamma / sqrt(var + eps), which the fold has multiplied the base's weight with, and V the weight that the delta makes
of the folded one before its scale, it computes

    BatchNorm(conv(x, V / f)) with gamma (1 + g) and beta + t in place of gamma and beta.

Outside of training, with the running statistics mean' and var', that is the folded layer with another scale and shift:

    1 + g' = gamma (1 + g) / (f sqrt(var' + eps)),    t' = beta + t - mean' f (1 + g') - b (1 + g'),

b being the folded layer's bias. These are what a file holds, so base, file and inference know nothing of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.03  # of a batch's statistics in the running ones, as Ultralytics trains its networks
_LEAST = 1e-6  # a factor below it is of a channel that the base has switched off: nothing to divide by


class FoldedNorm(NamedTuple):
    """A BatchNorm that was folded into the convolution before it; vectors are (out,) fp32.

    Attributes:
        gamma: its scale.
        beta: its shift.
        mean: its running mean, less the bias that the convolution had.
        var: its running variance.
        bias: of the folded convolution, beta - mean gamma / sqrt(var + eps).
        eps: what was added to the variance.
    """

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    var: Tensor
    bias: Tensor
    eps: float


class LiveNorm(nn.Module):
    """A folded BatchNorm, live again. Only its running statistics are state; all else is the base's.

    Args:
        folded: where its statistics start.

    Attributes:
        mean: running mean, (out,).
        var: running variance, (out,).
        factor: f, (out,).
    """

    def __init__(self, folded: FoldedNorm) -> None:
        super().__init__()
        factor = folded.gamma.double() / torch.sqrt(folded.var.double() + folded.eps)
        small = torch.full_like(factor, _LEAST).copysign(factor)
        self.eps = folded.eps
        self.register_buffer("mean", folded.mean.clone())
        self.register_buffer("var", folded.var.clone())
        constants = {
            "factor": torch.where(factor.abs() < _LEAST, small, factor).float(),
            "gamma": folded.gamma,
            "beta": folded.beta,
            "bias": folded.bias,
        }
        for name, value in constants.items():
            self.register_buffer(name, value.clone(), persistent=False)

    mean: Tensor
    var: Tensor
    factor: Tensor
    gamma: Tensor
    beta: Tensor
    bias: Tensor

    def forward(self, convolved: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        """Normalise by the batch's statistics, and take them into the running ones.

        Args:
            convolved: (B, out, H, W), of the unfolded weight, without bias.
            gain: 1 + g, (out,).
            shift: t, (out,).
        """
        numbers = convolved.numel() // convolved.shape[1]
        return F.batch_norm(
            convolved,
            self.mean,
            self.var,
            self.gamma * gain,
            self.beta + shift,
            training=numbers > 1,  # a single number has no variance
            momentum=MOMENTUM,
            eps=self.eps,
        )

    def folded(self, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Scale 1 + g' and shift t' of the folded layer that computes the same with the running statistics.

        Args:
            gain: 1 + g, (out,).
            shift: t, (out,).
        """
        scale = self.gamma * gain * torch.rsqrt(self.var + self.eps)
        folded = scale / self.factor
        return folded, self.beta + shift - self.mean * scale - self.bias * folded
