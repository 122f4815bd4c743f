"""Plan: which layers get an adapter, of which rank, and for every other layer the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from vision_lora.adapters.layers import Site, sites
from vision_lora.adapters.weights.deltas import VARIANTS, Delta, NewRows, ScaleShift, max_rank
from vision_lora.errors import AdapterError


@dataclass(frozen=True)
class Entry:
    """One weight of the network, or one layer that has no weight of a kind that can be adapted.

    Attributes:
        site: layer name, and for attention the projection: `model.10.attn.qkv.conv`, `decoder.self_attn.out_proj`.
        kind: what it is: `conv 3x3`.
        shape: (rows, columns) of the weight, () where it has none.
        variant: the delta it gets; empty where it is left alone.
        rank: rank of its low-rank factors, 0 without.
        parameters: numbers that training learns here.
        reason: why it is treated so.
        bias: whether the layer has a bias.
        new_rows: rows of new classes that it gets.
    """

    site: str
    kind: str
    shape: tuple[int, ...]
    variant: str
    rank: int
    parameters: int
    reason: str
    bias: bool = False
    new_rows: int = 0


@dataclass(frozen=True)
class Plan:
    """Every layer that has parameters, in the order of the network, with its treatment."""

    entries: tuple[Entry, ...]

    @property
    def adapted(self) -> tuple[Entry, ...]:
        """The entries that get a delta."""
        return tuple(entry for entry in self.entries if entry.variant)

    @property
    def parameters(self) -> int:
        """Numbers that training learns in all."""
        return sum(entry.parameters for entry in self.entries)

    def table(self) -> str:
        """The plan as text, a line for each layer."""
        width = max(len(entry.site) for entry in self.entries)
        lines = [
            f"{entry.site:<{width}}  {entry.kind:<18} {'x'.join(map(str, entry.shape)):>10}  {_treatment(entry):<10} "
            f"{entry.parameters or '':>8}  {entry.reason}".rstrip()
            for entry in self.entries
        ]
        return "\n".join(lines)


def make_plan(
    network: nn.Module,
    *,
    rank: int,
    variant: str = "lora",
    class_layers: Collection[str] = (),
    new_classes: int = 0,
    fixed: Mapping[str, str] | None = None,
    within: Callable[[str], bool] = lambda layer: True,
) -> Plan:
    """Decide for each layer of a frozen, folded network how it is adapted.

    Args:
        network: the base.
        rank: rank of the low-rank factors; capped per layer by `max_rank`.
        variant: a name of `VARIANTS`.
        class_layers: names of the layers whose output channels are classes; they get rows for `new_classes`.
        new_classes: number of classes to learn.
        fixed: layers that must not be adapted, with the reason.
        within: placement: whether a layer of this name may be adapted.

    Raises:
        AdapterError: the rank is below 1, the variant unknown, a named layer missing, or no layer matched.
    """
    fixed = fixed or {}
    modules = dict(network.named_modules())
    _check(rank, variant, set(class_layers) - modules.keys())

    def treat(layer: str, name: str, site: Site) -> Entry:
        if layer in fixed:
            return _left(name, site, fixed[layer])
        if layer in class_layers:
            reason = f"{len(site.rows)} old rows stay, new ones beside them"
            return _adapted(name, site, NewRows.variant, 0, reason, new_classes)
        if not within(name):
            return _left(name, site, "outside the placement or the budget")
        if site.depthwise:
            return _adapted(name, site, ScaleShift.variant, 0, "depthwise: scale and shift")
        if variant == ScaleShift.variant:
            return _adapted(name, site, variant, 0, "")
        capped = min(rank, max_rank(*site.rows.shape))
        reason = "" if capped == rank else f"rank capped from {rank}: the factors would outgrow the weight"
        return _adapted(name, site, variant, capped, reason)

    entries: list[Entry] = []
    inner: set[str] = set()  # layers that belong to another one: attention's out_proj
    for name, layer in modules.items():
        if name in inner:
            continue
        found = sites(layer)
        inner.update(f"{name}.{child}" for child, _ in layer.named_modules() if child and found)
        entries += [treat(name, f"{name}.{part}" if part else name, site) for part, site in found.items()]
        size = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        if size and not found:
            kind = type(layer).__name__
            entries.append(Entry(name, kind, (size,), "", 0, 0, fixed.get(name, f"no weight matrix: {kind} stays")))
    plan = Plan(tuple(entries))
    if not any(entry.variant and entry.variant != NewRows.variant for entry in plan.entries):
        raise AdapterError("no layer of the network matched the placement: nothing would be adapted")
    return plan


def make_delta(entry: Entry, *, alpha: float, joint: bool = False) -> Delta:
    """A new delta for a planned entry; it changes nothing before training, new rows aside.

    Args:
        entry: from the plan.
        alpha: numerator of the low-rank factor s.
        joint: whether new class rows stand behind the old ones instead of in their place.
    """
    return _build(entry.variant, entry.shape, entry.rank, alpha, entry.new_rows, bias=entry.bias, joint=joint)


def _build(
    variant: str, shape: tuple[int, ...], rank: int, alpha: float, new_rows: int, *, bias: bool, joint: bool = False
) -> Delta:
    rows, columns = shape
    if variant == NewRows.variant:
        return NewRows(new_rows, columns, bias=bias, keep=joint)
    return VARIANTS[variant].build(rows, columns, rank, alpha, bias=bias)


def _adapted(name: str, site: Site, variant: str, rank: int, reason: str, new_rows: int = 0) -> Entry:
    shape, bias = tuple(site.rows.shape), site.bias is not None
    with torch.device("meta"):  # counts without memory
        delta = _build(variant, shape, rank, 1.0, new_rows, bias=bias)
    size = sum(parameter.numel() for parameter in delta.learned().values())
    return Entry(name, site.kind, shape, variant, rank, size, reason, bias, new_rows)


def _check(rank: int, variant: str, missing: set[str]) -> None:
    if rank < 1:
        raise AdapterError(f"rank {rank}: expected 1 or more; give --rank 8, or --variant ssf for no low-rank part")
    if variant not in VARIANTS:
        raise AdapterError(f"variant {variant!r} is unknown: expected one of {', '.join(VARIANTS)}")
    if missing:
        raise AdapterError(f"layer {min(missing)} for the new classes is not in the network")


def _left(name: str, site: Site, reason: str) -> Entry:
    return Entry(name, site.kind, tuple(site.rows.shape), "", 0, 0, reason)


def _treatment(entry: Entry) -> str:
    return f"{entry.variant} r{entry.rank}" if entry.rank else entry.variant or "-"
