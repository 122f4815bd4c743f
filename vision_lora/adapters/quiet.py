"""Quiet start: low-rank factors that hear new pictures and hardly those that have to stay as they are.

An adapter adds B·A·x to a layer's output. With rows of A along which inputs x from new pictures are large and those
from pictures to keep are small, whatever B learns changes the new ones first. Such rows are the leading generalised
eigenvectors of the two second moments of x (Fukunaga & Koontz 1970); adapters that are kept out of the old inputs' way
like this are CorDA's (Yang et al. 2024, knowledge-preserved adaptation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.deltas import LowRank

MOST_COLUMNS = 2304  # a wider layer keeps its random start: its eigenvectors would take minutes
POSITIONS = 400  # of a picture's cells that count, drawn at random: neighbours say much the same
_FLOOR = 0.01  # of the mean energy is taken as heard in every direction, so that no silence looks perfect


@torch.no_grad()
def quiet_start(
    network: nn.Module,
    adapter: Adapter,
    kept: Iterable[Tensor],
    new: Iterable[Tensor],
    forward: Callable[[Tensor], object],
) -> int:
    """Set A of every convolution and linear layer that the adapter changes by low rank; lengths stay as they were.

    Args:
        network: the base, in the pass that the adapter starts from.
        adapter: untrained.
        kept: batches of pictures to stay the same on, as `forward` takes them.
        new: batches of pictures to learn from.
        forward: runs the network.

    Returns:
        How many layers were set; grouped convolutions, attention and very wide layers keep their random start.
    """
    layers = {
        site: layer
        for site, delta in adapter.deltas.items()
        if isinstance(delta, LowRank) and delta.down.shape[1] <= MOST_COLUMNS and (layer := _layer(network, site))
    }
    old, fresh = (_second_moments(layers, pictures, forward) for pictures in (kept, new))
    for site in layers:
        delta = adapter.deltas[site]
        assert isinstance(delta, LowRank)
        rows = _loud_and_quiet(fresh[site], old[site], delta.rank)
        length = torch.linalg.vector_norm(delta.down, dim=1).mean()
        delta.down.copy_(rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True) * length)
    return len(layers)


def _layer(network: nn.Module, site: str) -> nn.Conv2d | nn.Linear | None:
    """The layer of a site whose input is its rows' input."""
    layer = dict(network.named_modules()).get(site)
    if isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.groups == 1 and isinstance(layer.padding, tuple)
    ):
        return layer
    return None


def _second_moments(
    layers: dict[str, nn.Conv2d | nn.Linear], pictures: Iterable[Tensor], forward: Callable[[Tensor], object]
) -> dict[str, Tensor]:
    """Mean of x·xᵀ over each layer's inputs, by site, (columns, columns) in double precision."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def listen(site: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            for inputs in args[0]:
                x = _columns(layer, inputs)
                sums[site] = sums.get(site, x.new_zeros(())) + x.T @ x
                counts[site] = counts.get(site, 0) + len(x)

        return hook

    handles = [layer.register_forward_pre_hook(listen(site)) for site, layer in layers.items()]
    try:
        for batch in pictures:
            forward(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {site: sums[site].double() / counts[site] for site in layers}


def _columns(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What the rows of A are multiplied with at some positions of one picture, (positions, columns)."""
    if isinstance(layer, nn.Conv2d):
        unfolded = F.unfold(inputs[None].float(), layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
        x = unfolded[0].T
    else:
        x = inputs.float().reshape(-1, inputs.shape[-1])
    return x[torch.randperm(len(x), device=x.device)[:POSITIONS]]


def _loud_and_quiet(new: Tensor, old: Tensor, rank: int) -> Tensor:
    """Directions a with the largest aᵀ·new·a by aᵀ·old·a, (rank, columns), of any length."""
    floor = _FLOOR * old.diagonal().mean().clamp_min(1e-12)
    lower = torch.linalg.cholesky(old + floor * torch.eye(len(old), dtype=old.dtype, device=old.device))
    half = torch.linalg.solve_triangular(lower, new, upper=False)
    whitened = torch.linalg.solve_triangular(lower, half.T, upper=False)
    _, vectors = torch.linalg.eigh((whitened + whitened.T) / 2)
    directions: Tensor = torch.linalg.solve_triangular(lower.T, vectors[:, -rank:], upper=True)
    return directions.T.float()
