"""Budget: which layers are worth adapting where parameters, or the time of both passes together, are limited."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter
from vision_lora.datasets.batches.batch import Batch
from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_base
from vision_lora.errors import ConfigError
from vision_lora.options.capacity import Budget
from vision_lora.options.train import TrainConfig
from vision_lora.training.methods import recipe_adapter

BATCHES = 4  # enough for the order of the layers; their gradients differ by powers of ten


def choose_layers(
    config: TrainConfig, names: Sequence[str], batches: Iterable[Batch], device: torch.device
) -> set[str]:
    """The layers that an adapter within the recipe's budget changes.

    Of two layers that cost alike the one with the larger gradient lowers the loss more by its first step. Gradients
    are those of an untrained adapter, with the new classes' losses.

    Args:
        config: the recipe, with a budget.
        names: the new classes.
        batches: training pictures.
        device: where to compute.

    Returns:
        Names of the layers, those of the classes not among them: they are adapted always.

    Raises:
        ConfigError: no layer fits the budget.
    """
    budget = Budget.parse(config.budget or "")
    detector = load_base(config.model)
    adapter, plan = recipe_adapter(config, detector, names)
    detector.to(device)
    adapter.to(device)
    pictures = list(islice(batches, BATCHES))
    gain = _squared_gradients(detector, adapter, pictures)
    if budget.kind == "time":
        starts = _starts(detector, pictures[0].images[:1], gain)
        chosen = {layer for layer in gain if 2 - starts[layer] <= budget.limit}
    else:
        cost = {entry.site: entry.parameters for entry in plan.adapted}
        left = budget.limit * sum(p.numel() for p in detector.network.parameters())
        left -= sum(cost[layer] for layer in adapter.class_rows)
        chosen = set()
        for layer in sorted(gain, key=lambda layer: -gain[layer] / cost[layer]):
            if cost[layer] <= left:
                chosen.add(layer)
                left -= cost[layer]
    if not chosen:
        raise ConfigError(f"--budget {budget}: not one layer fits; expected more")
    return chosen


def _squared_gradients(detector: Detector, adapter: Adapter, pictures: Iterable[Batch]) -> dict[str, float]:
    """Squared norm of the gradient of each layer's delta, by site."""
    detector.attach(adapter, "budget")
    for batch in pictures:
        batch = batch.to(detector.device)
        torch.stack(list(detector.losses(batch.images, batch.targets).values())).sum().backward()
    detector.adapters.detach("budget")
    norms = {
        site: sum(float(tensor.grad.square().sum()) for tensor in delta.parameters() if tensor.grad is not None)
        for site, delta in adapter.deltas.items()
        if site not in adapter.class_rows
    }
    adapter.zero_grad()
    return norms


def _starts(detector: Detector, images: Tensor, layers: Mapping[str, Any]) -> dict[str, float]:
    """When each layer starts, as a share of the time of one pass: what lies before the first adapted one is trunk."""
    started: dict[str, list[float]] = {layer: [] for layer in layers}

    def mark(layer: str) -> Callable[..., None]:
        return lambda *_: started[layer].append(time.perf_counter())

    places = {layer: _place(detector.network, layer) for layer in layers}
    handles = [module.register_forward_pre_hook(mark(layer)) for layer, module in places.items()]
    shares: dict[str, list[float]] = {layer: [] for layer in layers}
    for _ in range(7):
        for times in started.values():
            times.clear()
        begun = time.perf_counter()
        detector.detect(images.to(detector.device), mode="general")
        whole = time.perf_counter() - begun
        for layer, times in started.items():
            shares[layer].append((min(times, default=begun) - begun) / whole)
    for handle in handles:
        handle.remove()
    return {layer: sorted(values)[len(values) // 2] for layer, values in shares.items()}


def _place(network: nn.Module, site: str) -> nn.Module:
    """The layer of a site; a part of an attention layer starts when the whole layer does."""
    outer = site.rpartition(".")[0]
    within = network.get_submodule(outer) if outer else network
    return within if isinstance(within, nn.MultiheadAttention) else network.get_submodule(site)
