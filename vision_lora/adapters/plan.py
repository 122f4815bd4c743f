"""Plan: which layers get an adapter, of which rank, and for every other layer the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import nn

from vision_lora.adapters.deltas import VARIANTS, Delta, NewRows, ScaleShift, max_rank
from vision_lora.adapters.layers import Site, sites
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
    """

    site: str
    kind: str
    shape: tuple[int, ...]
    variant: str
    rank: int
    parameters: int
    reason: str


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
    if rank < 1:
        raise AdapterError(f"rank {rank}: expected 1 or more; give --rank 8, or --variant ssf for no low-rank part")
    if variant not in VARIANTS:
        raise AdapterError(f"variant {variant!r} is unknown: expected one of {', '.join(VARIANTS)}")
    fixed = fixed or {}
    modules = dict(network.named_modules())
    if missing := sorted(set(class_layers) - modules.keys()):
        raise AdapterError(f"layer {missing[0]} for the new classes is not in the network")
    entries: list[Entry] = []
    inside: tuple[str, ...] = ()  # names of layers whose children belong to them (attention's out_proj)
    for name, layer in modules.items():
        if name.startswith(inside) and inside:
            continue
        found = sites(layer)
        if found:
            inside = (*inside, f"{name}.") if any(found) else inside
            for part, site in found.items():
                entries.append(
                    _entry(_join(name, part), name, site, rank, variant, name in class_layers, new_classes, fixed, within)
                )
        elif any(True for _ in layer.parameters(recurse=False)):
            size = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
            kind = type(layer).__name__
            entries.append(Entry(name, kind, (size,), "", 0, 0, fixed.get(name, f"no weight matrix: {kind} stays")))
    plan = Plan(tuple(entries))
    if not any(entry.variant and entry.variant != NewRows.variant for entry in plan.entries):
        raise AdapterError("no layer of the network matched the placement: nothing would be adapted")
    return plan


def make_delta(entry: Entry, *, alpha: float, bias: bool = True) -> Delta:
    """A new delta for a planned entry; it changes nothing before training, new rows aside."""
    rows, columns = entry.shape
    if entry.variant == NewRows.variant:
        return NewRows(entry.parameters // (columns + 1), columns)
    if entry.variant == ScaleShift.variant:
        return ScaleShift(rows, bias=bias)
    return VARIANTS[entry.variant](rows, columns, entry.rank, alpha, bias=bias)


def _entry(
    site_name: str,
    layer: str,
    site: Site,
    rank: int,
    variant: str,
    is_class_layer: bool,
    new_classes: int,
    fixed: Mapping[str, str],
    within: Callable[[str], bool],
) -> Entry:
    rows, columns = site.rows.shape
    shape = (rows, columns)
    if layer in fixed:
        return Entry(site_name, site.kind, shape, "", 0, 0, fixed[layer])
    if is_class_layer:
        size = new_classes * (columns + 1)
        return Entry(site_name, site.kind, shape, NewRows.variant, 0, size, f"{rows} old rows stay, new ones beside them")
    if not within(layer):
        return Entry(site_name, site.kind, shape, "", 0, 0, "outside the placement")
    if site.depthwise:
        return Entry(site_name, site.kind, shape, ScaleShift.variant, 0, 2 * rows, "depthwise: scale and shift")
    if variant == ScaleShift.variant:
        return Entry(site_name, site.kind, shape, variant, 0, 2 * rows, "")
    capped = min(rank, max_rank(rows, columns))
    reason = "" if capped == rank else f"rank capped from {rank}: the factors would outgrow the weight"
    return Entry(site_name, site.kind, shape, variant, capped, capped * (rows + columns) + 2 * rows, reason)


def _join(layer: str, part: str) -> str:
    return f"{layer}.{part}" if part else layer


def _treatment(entry: Entry) -> str:
    return f"{entry.variant} r{entry.rank}" if entry.rank else entry.variant or "-"
