"""Deltas: what an adapter does to the weight and bias of one layer.

A delta is a function from a frozen weight and bias to the weight and bias that the layer computes with. Its parameters
are all that training learns for that layer, and its result *is* the merged weight: there is no second code path.
Weights come as rows, one per output channel, so that one formula serves convolutions, linear layers and attention.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vision_lora.adapters.weights.live import FoldedNorm, LiveNorm
from vision_lora.errors import AdapterError, MismatchError

# Under Adam every entry of B moves by the learning rate whatever its gradient's size, so the factor before B·A alone
# decides how fast B·A moves beside A, g, t and the class rows: twice, at rank 8, is what pictures near and far from the
# base's bear (data/results/rates.json). Each further rank moves B·A as well, like steps of a random walk: by the root
# of their number, which the factor is divided by (Kalajdzievski 2023, rsLoRA, eq. 4). It lies between what was measured
# (data/results/factors.json): a factor of 16 / rank learns slowly where pictures are far, one of 2 at every rank is
# restless where they are near, and at rank 64 it is too much for either.
FACTOR, AT_RANK = 2.0, 8


def max_rank(rows: int, columns: int) -> int:
    """Largest rank whose two factors hold no more numbers than the weight itself (at least 1)."""
    return max(1, rows * columns // (rows + columns))


class Delta(nn.Module, ABC):
    """Base of all deltas: `forward(weight, bias)` gives the effective weight and bias.

    Shapes:
        weight: (rows, columns), where columns = in_channels / groups * kernel height * kernel width.
        bias: (rows,) or None.
    """

    variant: ClassVar[str]

    @abstractmethod
    def forward(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The effective weight and bias."""

    def learned(self) -> dict[str, Tensor]:
        """The parameters that training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def check(self, weight: Tensor, layer: str) -> None:
        """Raise MismatchError where this delta cannot change `weight` (rows, columns) of `layer`."""


class ScaleShift(Delta):
    """Scale and shift of each output channel: W(1 + g), b(1 + g) + t (Lian et al. 2022, SSF, eq. 3, merged).

    Args:
        rows: output channels.
        bias: whether the layer has a bias that can be shifted, or may get one.

    Attributes:
        gain: g, (rows,).
        shift: t, (rows,), or None.
        norm: the layer's BatchNorm where it is live in training, see `thaw`; else None.
    """

    variant = "ssf"

    norm: LiveNorm | None

    def __init__(self, rows: int, *, bias: bool = True) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(rows))
        self.shift = nn.Parameter(torch.zeros(rows)) if bias else None
        self.register_module("norm", None)

    @classmethod
    def build(cls, rows: int, columns: int, rank: int, alpha: float, *, bias: bool) -> ScaleShift:  # noqa: ARG003
        """A new delta for a weight (rows, columns); each variant takes what it needs."""
        return cls(rows, bias=bias)

    def forward(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        gain, shift = self.scale_shift()
        return weight * gain[:, None], shifted(bias, gain, shift)

    def direction(self, weight: Tensor) -> Tensor:
        """The weight before the scale, (rows, columns)."""
        return weight

    def scale_shift(self) -> tuple[Tensor, Tensor | None]:
        """1 + g and t; where BatchNorm is live, those of the folded layer."""
        if self.norm is None:
            return 1 + self.gain, self.shift
        assert self.shift is not None, "a folded layer has a bias"
        return self.norm.folded(1 + self.gain, self.shift)

    @torch.no_grad()
    def thaw(self, folded: FoldedNorm) -> None:
        """Make the layer's BatchNorm live, with the base's statistics: the layer computes what it did, until it trains.

        Args:
            folded: the BatchNorm that was folded into the layer.
        """
        assert self.shift is not None, "a folded layer has a bias"
        self.norm = LiveNorm(folded).to(self.gain.device)
        self.shift.addcmul_(self.norm.beta, self.gain)  # what the fold's bias gets of the scale, β keeps for itself

    @torch.no_grad()
    def fold(self) -> None:
        """Put a live BatchNorm's running statistics into scale and shift: the layer computes what it did."""
        if self.norm is not None:
            gain, shift = self.scale_shift()
            assert self.shift is not None
            assert shift is not None
            self.gain.copy_(gain - 1)
            self.shift.copy_(shift)
            self.norm = None

    def check(self, weight: Tensor, layer: str) -> None:
        if len(self.gain) != len(weight):
            raise MismatchError(f"layer {layer}: the adapter has {len(self.gain)} output channels, not {len(weight)}")


def shifted(bias: Tensor | None, gain: Tensor, shift: Tensor | None) -> Tensor | None:
    """Effective bias: b(1 + g) + t; a layer without bias gets t."""
    if shift is None:
        return bias
    return shift if bias is None else torch.addcmul(shift, bias, gain)


class LowRank(ScaleShift):
    """Low-rank change with scale and shift: (W + s·B·A)(1 + g) (Hu et al. 2021, eq. 3, and SSF).

    B, g and t start at zero, so a new delta changes nothing.

    Args:
        rows: output channels.
        columns: in_channels / groups * kernel height * kernel width.
        rank: columns of B; at most `max_rank(rows, columns)`.
        alpha: s = alpha / rank.
        bias: whether the layer's bias may be shifted.

    Attributes:
        down: A, (rank, columns).
        up: B, (rows, rank).
    """

    variant = "lora"

    def __init__(self, rows: int, columns: int, rank: int, alpha: float, *, bias: bool = True) -> None:
        super().__init__(rows, bias=bias)
        if not 1 <= rank <= max_rank(rows, columns):
            raise AdapterError(f"rank {rank} of a ({rows}, {columns}) weight: expected 1 to {max_rank(rows, columns)}")
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.alpha = alpha

    @classmethod
    def build(cls, rows: int, columns: int, rank: int, alpha: float, *, bias: bool) -> LowRank:
        """A new delta for a weight (rows, columns)."""
        return cls(rows, columns, rank, alpha, bias=bias)

    @classmethod
    def default_alpha(cls, rank: int) -> float:
        """What alpha is where a recipe gives none: s falls with the root of the rank, and is `FACTOR` at `AT_RANK`.

        Examples:
            >>> [round(LowRank.default_alpha(rank) / rank, 2) for rank in (4, 8, 16, 32, 64)]
            [2.83, 2.0, 1.41, 1.0, 0.71]
        """
        return FACTOR * math.sqrt(AT_RANK * rank)

    @property
    def rank(self) -> int:
        """Columns of B."""
        return self.up.shape[1]

    @property
    def strength(self) -> float:
        """The factor s before B·A."""
        return self.alpha / self.rank

    def low_rank(self) -> Tensor:
        """s·B·A, (rows, columns); in full precision also under autocast, as the merged weight will be."""
        with torch.autocast(self.up.device.type, enabled=False):
            return (self.up * self.strength) @ self.down

    def forward(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        gain, shift = self.scale_shift()
        # The gain goes into B, so that the backward keeps factors only and no second weight.
        with torch.autocast(self.up.device.type, enabled=False):
            up = self.up * gain[:, None]
            effective = torch.addmm(weight * gain[:, None], up, self.down, alpha=self.strength)
        return effective, shifted(bias, gain, shift)

    def direction(self, weight: Tensor) -> Tensor:
        with torch.autocast(self.up.device.type, enabled=False):
            return torch.addmm(weight, self.up, self.down, alpha=self.strength)

    def check(self, weight: Tensor, layer: str) -> None:
        super().check(weight, layer)
        if self.down.shape[1] != weight.shape[1]:
            raise MismatchError(
                f"layer {layer}: the adapter has {self.down.shape[1]} inputs per output channel, not {weight.shape[1]}"
            )


class RankStabilised(LowRank):
    """Low rank with s = alpha / sqrt(rank): high ranks keep learning (Kalajdzievski 2023, rsLoRA, eq. 4)."""

    variant = "rslora"

    @classmethod
    def default_alpha(cls, rank: int) -> float:
        """As for `LowRank`: s itself has the root of the rank."""
        return super().default_alpha(rank) / math.sqrt(rank)

    @property
    def strength(self) -> float:
        return self.alpha / math.sqrt(self.rank)


class WeightDecomposed(LowRank):
    """Direction by low rank, length by g: (1 + g)·|W|·V / |V|, V = W + s·B·A (Liu et al. 2024, DoRA, eq. 5).

    Lengths are taken per output channel. |V| is a constant to the gradient (DoRA, section 4.3). A row of zeros has no
    direction, so it keeps V as it is.
    """

    variant = "dora"

    def forward(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        gain, shift = self.scale_shift()
        direction, ratio = self._direction(weight)
        return direction * (ratio * gain)[:, None], shifted(bias, gain, shift)

    def direction(self, weight: Tensor) -> Tensor:
        direction, ratio = self._direction(weight)
        return direction * ratio[:, None]

    def _direction(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """V, and |W| / |V| of its rows."""
        direction = weight + self.low_rank()
        length = torch.linalg.vector_norm(weight, dim=1)
        current = torch.linalg.vector_norm(direction.detach(), dim=1)
        return direction, torch.where((current > 0) & (length > 0), length / current.clamp_min(1e-30), 1.0)


class FrozenDown(LowRank):
    """Low rank whose A stays at its random start (Zhang et al. 2023, LoRA-FA).

    Half the parameters, and a backward that does not need the layer's input, see
    `vision_lora.adapters.weights.factored`.
    """

    variant = "lora-fa"

    def __init__(self, rows: int, columns: int, rank: int, alpha: float, *, bias: bool = True) -> None:
        super().__init__(rows, columns, rank, alpha, bias=bias)
        self.down.requires_grad_(False)


class NewRows(Delta):
    """Rows of new classes, learned by the adapter; the layer's own rows are never touched.

    Args:
        rows: number of new classes.
        columns: inputs of the classifying layer.
        bias: whether the layer has a bias.
        keep: whether the old rows stay in front of the new ones (one joint pass) or are left to the base pass.

    Attributes:
        weight: (new classes, columns).
        bias: (new classes,), or None.
    """

    variant = "rows"

    def __init__(self, rows: int, columns: int, *, bias: bool = True, keep: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, columns))
        self.bias = nn.Parameter(torch.zeros(rows)) if bias else None
        self.keep = keep

    def forward(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not self.keep:
            return self.weight, self.bias
        both = None if bias is None or self.bias is None else torch.cat((bias, self.bias))
        return torch.cat((weight, self.weight)), both

    def check(self, weight: Tensor, layer: str) -> None:
        if self.weight.shape[1] != weight.shape[1]:
            raise MismatchError(
                f"layer {layer}: the adapter's class rows have {self.weight.shape[1]} inputs, not {weight.shape[1]}"
            )


VARIANTS: dict[str, type[ScaleShift]] = {
    kind.variant: kind for kind in (LowRank, RankStabilised, WeightDecomposed, FrozenDown, ScaleShift)
}
