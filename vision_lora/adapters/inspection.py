"""Inspection: how much an adapter changes each layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.layers import sites
from vision_lora.adapters.weights.deltas import Delta, LowRank, NewRows, ScaleShift
from vision_lora.errors import MismatchError


@dataclass(frozen=True)
class Change:
    """What an adapter does to one layer.

    Attributes:
        site: the layer, and for attention the projection.
        variant: kind of its delta.
        rank: of its low-rank factors, 0 without.
        numbers: how many the file holds for it.
        size: Frobenius norm of what it adds: relative to the weight where the base is known; else of s·B·A, of the
            channel scale, or of the rows of new classes, in the unit of the weights.
        relative: whether `size` is a share of the weight's own norm. New rows have no weight to compare with.
    """

    site: str
    variant: str
    rank: int
    numbers: int
    size: float
    relative: bool


@torch.no_grad()
def changes(adapter: Adapter, network: nn.Module | None = None) -> tuple[Change, ...]:
    """How much an adapter changes each layer, in the order of the network.

    Args:
        adapter: the adapter.
        network: the base that it was made for, whether the adapter is attached or not; None where it is not at hand.

    Raises:
        MismatchError: it was made for another network.
    """
    weights = None if network is None else _weights(network)
    found = []
    for site, delta in adapter.deltas.items():
        rank = delta.rank if isinstance(delta, LowRank) else 0
        numbers = sum(parameter.numel() for parameter in delta.parameters())
        relative = weights is not None and not isinstance(delta, NewRows)
        if weights is None or isinstance(delta, NewRows):
            size = float(torch.linalg.norm(_own(delta)))
        elif site not in weights:
            raise MismatchError(f"layer {site} of the adapter is not in the network")
        else:
            weight = weights[site]
            delta.check(weight, site)
            size = float(
                torch.linalg.norm(delta(weight, None)[0] - weight) / torch.linalg.norm(weight).clamp_min(1e-30)
            )
        found.append(Change(site, delta.variant, rank, numbers, size, relative))
    return tuple(found)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights that deltas can change, as rows, by site."""
    return {
        f"{name}.{part}" if part else name: site.rows
        for name, layer in network.named_modules()
        for part, site in sites(layer).items()
    }


def _own(delta: Delta) -> Tensor:
    """What a delta says without its weight."""
    if isinstance(delta, LowRank):
        return delta.low_rank()
    if isinstance(delta, ScaleShift):
        return delta.gain
    assert isinstance(delta, NewRows)
    return delta.weight
