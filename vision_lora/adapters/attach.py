"""Adapters on a network: several attached, one active, switched, merged and taken off again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.layers import Adapted, Parameters, adapt, restore, sites
from vision_lora.adapters.weights.bank import Bank, Link
from vision_lora.errors import (
    AdapterError,
    AlreadyAttachedError,
    AlreadyMergedError,
    MismatchError,
    WrongBaseError,
)


class AdapterSet:
    """The adapters of one network.

    The network's own parameters stay the base's: whichever adapter is active, `network.state_dict()` is the same.

    Args:
        network: frozen, folded network.
        fingerprint: of its weights; adapters made for other weights are refused.
    """

    def __init__(self, network: nn.Module, fingerprint: str) -> None:
        self.network = network
        self.fingerprint = fingerprint
        self.adapters: dict[str, Adapter] = {}
        self.active: str | None = None
        self._links: dict[str, list[Link]] = {}
        self._banks: dict[str, Bank] = {}
        self._merged: list[tuple[Adapted, Parameters]] | None = None

    def attach(self, adapter: Adapter, name: str = "default", *, use: bool = True) -> None:
        """Connect an adapter with the network; nothing is attached where this raises.

        Raises:
            AlreadyAttachedError: the name is taken, or the adapter has another one.
            WrongBaseError: it was made for another base.
            MismatchError: it does not fit a layer.
            AlreadyMergedError: an adapter is merged into the network.
        """
        self._demand_unmerged("attach")
        if name in self.adapters:
            raise AlreadyAttachedError(f"an adapter named {name!r} is attached already: detach it or give another name")
        if any(adapter is other for other in self.adapters.values()):
            raise AlreadyAttachedError(f"this adapter is attached already; it cannot be attached again as {name!r}")
        card = adapter.card
        if card.fingerprint != self.fingerprint:
            raise WrongBaseError(
                f"the adapter was made for base {card.base} ({card.fingerprint[:12]}), not for this one "
                f"({self.fingerprint[:12]}): load that base, or train an adapter for this one"
            )
        layers = dict(self.network.named_modules())
        places = {site: _locate(layers, site) for site in adapter.deltas}
        for site, delta in adapter.deltas.items():
            layer, part = places[site]
            delta.check(sites(layer)[part].rows, site)
        self._links[name] = [Link(adapt(places[site][0]), places[site][1], d) for site, d in adapter.deltas.items()]
        self.adapters[name] = adapter
        if use:
            self.use(name)

    def detach(self, name: str = "default") -> Adapter:
        """Take an adapter off; the last one leaves plain layers. If it was active, none is active afterwards."""
        self._demand_unmerged("detach")
        adapter = self._get(name)
        if self.active == name:
            self.use(None)
        del self.adapters[name]
        self._banks.pop(name, None)
        needed = {id(link.layer) for other, links in self._links.items() if other != name for link in links}
        for layer in {link.layer for link in self._links.pop(name)}:
            if id(layer) not in needed:
                restore(layer)
        return adapter

    def use(self, name: str | None) -> None:
        """Make an attached adapter the active one, or none: the base pass. Only references change hands."""
        if name == self.active:
            return
        self._demand_unmerged("switch")
        if name is not None:
            self._get(name)
        for link in self._links.get(self.active or "", ()):
            link.layer.active.clear()
        for link in self._links.get(name or "", ()):
            link.layer.active[link.part] = link.delta
        self.active = name

    @contextmanager
    def enabled(self, on: bool) -> Iterator[None]:  # noqa: FBT001 - reads as `enabled(False)`
        """`enabled(False)`: the base pass for a while; `enabled(True)` changes nothing.

        Examples:
            >>> with adapters.enabled(False):  # doctest: +SKIP
            ...     base_outputs = network(images)
        """
        before = self.active
        self.use(before if on else None)
        try:
            yield
        finally:
            self.use(before)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In training on a GPU, all layers' weights of the active adapter are made at once for the passes within.

        On the CPU a layer's own few operations cost nothing beside its convolution, and some layers take a backward
        through their factors (`vision_lora.adapters.weights.factored`).
        """
        bank = self._bank() if torch.is_grad_enabled() and self.active is not None and not self.merged else None
        if bank is None or bank.device.type == "cpu":
            yield
            return
        kind = bank.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with bank.handed_out(dtype):
            yield

    def merge(self) -> None:
        """Write the active adapter's effective weights into the network, and leave only plain layers.

        Raises:
            AlreadyMergedError: an adapter is merged already.
            AdapterError: none is active.
        """
        self._demand_unmerged("merge")
        if self.active is None:
            raise AdapterError("no adapter is active: attach one before merging")
        self._merged = []
        for layer in {link.layer for links in self._links.values() for link in links}:
            effective = layer.effective()
            restore(layer)
            self._merged.append((layer, _write(layer, effective)))

    def unmerge(self) -> None:
        """Undo `merge`: the base's own tensors come back, and the adapter is attached and active as before."""
        if self._merged is None:
            raise AdapterError("no adapter is merged: there is nothing to undo")
        for layer, parameters in self._merged:
            _write(layer, parameters)
            adapt(layer)
        self._merged = None
        active, self.active = self.active, None
        self.use(active)

    def layers(self, name: str) -> tuple[Adapted, ...]:
        """The layers that an attached adapter changes."""
        self._get(name)
        return tuple({link.layer: None for link in self._links[name]})

    @property
    def merged(self) -> bool:
        """Whether the active adapter is written into the network."""
        return self._merged is not None

    def _bank(self) -> Bank:
        """The active adapter's, made anew where its layers are on another device by now."""
        assert self.active is not None, "an adapter is active"
        bank = self._banks.get(self.active)
        links = self._links[self.active]
        if bank is None or bank.device != next(self.network.parameters()).device:
            bank = self._banks[self.active] = Bank(links)
        return bank

    def _get(self, name: str) -> Adapter:
        if name not in self.adapters:
            known = ", ".join(self.adapters) or "none"
            raise AdapterError(f"no adapter named {name!r} is attached (attached: {known})")
        return self.adapters[name]

    def _demand_unmerged(self, action: str) -> None:
        if self._merged is not None:
            raise AlreadyMergedError(
                f"cannot {action}: adapter {self.active!r} is merged into the network; unmerge it first"
            )


def _locate(layers: dict[str, nn.Module], site: str) -> tuple[nn.Module, str]:
    """The layer that a site name means, and the part of it."""
    name, _, part = site.rpartition(".")
    for layer, key in ((layers.get(site), ""), (layers.get(name), part)):
        if layer is not None and key in sites(layer):
            return layer, key
    raise MismatchError(f"layer {site} of the adapter is not in the network, or cannot be adapted")


def _write(layer: nn.Module, parameters: Parameters) -> Parameters:
    """Set parameters by dotted name, and return those that were there."""
    before: Parameters = {}
    for path, tensor in parameters.items():
        owner, _, name = path.rpartition(".")
        registry = layer.get_submodule(owner)._parameters
        before[path] = registry.get(name)
        if tensor is None or isinstance(tensor, nn.Parameter):
            registry[name] = tensor
        else:
            registry[name] = nn.Parameter(tensor.detach().clone(), requires_grad=False)
    if isinstance(layer, nn.Conv2d):
        layer.out_channels = len(layer.weight)  # new class rows
    elif isinstance(layer, nn.Linear):
        layer.out_features = len(layer.weight)
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings = len(layer.weight)
    return before
