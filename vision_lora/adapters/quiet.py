"""Quiet start: low-rank factors that hear new pictures and hardly those that have to stay as they are.

An adapter adds B·A·x to a layer's output. With rows of A along which inputs x from new pictures are large and those
from pictures to keep are small, whatever B learns changes the new ones first, and tells them apart first: a random A
hears mostly what all pictures have in common. Such rows are the leading generalised eigenvectors of the two second
moments of x (Fukunaga & Koontz 1970); adapters that are kept out of the old inputs' way like this are CorDA's
(Yang et al. 2024, knowledge-preserved adaptation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.weights.deltas import LowRank

MOST_COLUMNS = 2304  # a wider layer keeps its random start: its directions would take seconds and much memory
MOST_NUMBERS = 2**27  # in the second moments that are held at once, half a GiB: what is beyond waits for another round
POSITIONS = 128  # of a picture's cells that count, drawn at random: neighbours say much the same
_FLOOR = 0.01  # of the mean energy is taken as heard in every direction, so that no silence looks perfect


@torch.no_grad()
def quiet_start(
    network: nn.Module,
    adapter: Adapter,
    kept: Sequence[Tensor],
    new: Sequence[Tensor],
    forward: Callable[[Tensor], object],
) -> int:
    """Set A of every convolution and linear layer that the adapter changes by low rank; lengths stay as they were.

    Args:
        network: the base.
        adapter: untrained.
        kept: batches of pictures to stay the same on, as `forward` takes them.
        new: batches of pictures to learn from.
        forward: runs the network's base pass.

    Returns:
        How many layers were set; grouped convolutions, attention and very wide layers keep their random start.
    """
    modules = dict(network.named_modules())
    layers = {
        site: layer
        for site, delta in adapter.deltas.items()
        if isinstance(delta, LowRank) and delta.down.shape[1] <= MOST_COLUMNS and (layer := _dense(modules.get(site)))
    }
    for some in _rounds(layers, adapter):
        old, fresh = (_second_moments(some, pictures, forward) for pictures in (kept, new))
        for site in some:
            if site not in old or site not in fresh:  # it has no part in the base pass
                continue
            delta = adapter.deltas[site]
            assert isinstance(delta, LowRank)
            rows = _loud_and_quiet(fresh[site], old[site], delta.rank)
            length = torch.linalg.vector_norm(delta.down, dim=1).mean()
            delta.down.copy_(rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True) * length)
    return len(layers)


def _dense(layer: nn.Module | None) -> nn.Conv2d | nn.Linear | None:
    """The layer where its input is what the rows of A are multiplied with."""
    if isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.groups == 1 and isinstance(layer.padding, tuple)
    ):
        return layer
    return None


def _rounds(layers: dict[str, nn.Conv2d | nn.Linear], adapter: Adapter) -> Iterator[dict[str, nn.Conv2d | nn.Linear]]:
    """The layers in portions whose second moments fit into memory."""
    portion: dict[str, nn.Conv2d | nn.Linear] = {}
    numbers = 0
    for site, layer in layers.items():
        needed = 2 * adapter.deltas[site].get_parameter("down").shape[1] ** 2
        if portion and numbers + needed > MOST_NUMBERS:
            yield portion
            portion, numbers = {}, 0
        portion[site] = layer
        numbers += needed
    if portion:
        yield portion


def _second_moments(
    layers: dict[str, nn.Conv2d | nn.Linear], pictures: Sequence[Tensor], forward: Callable[[Tensor], object]
) -> dict[str, Tensor]:
    """Mean of x·xᵀ over each layer's inputs, by site, (columns, columns)."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def listen(site: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = _columns(layer, args[0].float())
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
    return {site: total / counts[site] for site, total in sums.items()}


def _columns(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What the rows of A are multiplied with at some positions of a batch, (positions, columns)."""
    if isinstance(layer, nn.Conv2d):
        # One picture at a time: a batch of unfolded feature maps would take gigabytes.
        shape = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        return torch.cat([_some(F.unfold(one[None], *shape)[0].T, POSITIONS) for one in inputs])  # type: ignore[arg-type]
    return _some(inputs.reshape(-1, inputs.shape[-1]), POSITIONS * len(inputs))


def _some(rows: Tensor, count: int) -> Tensor:
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]


def _loud_and_quiet(new: Tensor, old: Tensor, rank: int) -> Tensor:
    """Directions a with the largest aᵀ·new·a by aᵀ·old·a, (rank, columns), of any length."""
    if new.device.type == "mps":  # has no double precision
        new, old = new.cpu(), old.cpu()
    new, old = new.double(), old.double()
    floor = _FLOOR * old.diagonal().mean().clamp_min(1e-12)
    lower = torch.linalg.cholesky(old + floor * torch.eye(len(old), dtype=old.dtype, device=old.device))
    half = torch.linalg.solve_triangular(lower, new, upper=False)
    whitened = torch.linalg.solve_triangular(lower, half.T, upper=False)
    # All eigenvectors would take seven times as long. The matrix is symmetric: they are its singular vectors.
    _, _, vectors = torch.svd_lowrank((whitened + whitened.T) / 2, q=min(2 * rank, len(new)), niter=8)
    directions: Tensor = torch.linalg.solve_triangular(lower.T, vectors[:, :rank], upper=True)
    return directions.T.float()
