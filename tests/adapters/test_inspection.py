"""How much an adapter changes each layer."""

from __future__ import annotations

import pytest
import torch

from tests.adapters import build
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.inspection import changes
from vision_lora.adapters.weights.deltas import VARIANTS, LowRank
from vision_lora.errors import MismatchError


@pytest.mark.parametrize("variant", VARIANTS)
def test_relative_size_is_that_of_the_merged_weight(variant: str) -> None:
    net = build.network()
    adapter = build.adapter(net, variant)
    found = {change.site: change for change in changes(adapter, net)}
    before = {site: net.get_submodule(site).weight.clone() for site in found}
    adapters: AdapterSet = build.adapter_set(net)
    adapters.attach(adapter)
    assert {change.site: change for change in changes(adapter, net)} == found  # attached or not
    adapters.merge()
    for site, change in found.items():
        if site == "classify":
            assert not change.relative
            assert change.size == pytest.approx(float(adapter.deltas[site].get_parameter("weight").detach().norm()))
            continue
        difference = net.get_submodule(site).weight - before[site]
        assert change.relative
        assert change.size == pytest.approx(float(difference.norm() / before[site].norm()), rel=1e-4)


def test_without_the_base_the_size_is_that_of_the_low_rank() -> None:
    adapter = build.adapter(build.network())
    for change in changes(adapter):
        delta = adapter.deltas[change.site]
        assert not change.relative
        assert change.variant == delta.variant
        assert change.numbers == sum(parameter.numel() for parameter in delta.parameters())
        if isinstance(delta, LowRank):
            assert change.rank == delta.rank
            expected = delta.strength * delta.up.detach() @ delta.down.detach()
            assert change.size == pytest.approx(float(expected.norm()))
        elif change.site == "body.2":
            assert change.size == pytest.approx(float(delta.get_parameter("gain").detach().norm()))


def test_a_new_adapter_changes_nothing() -> None:
    net = build.network()
    adapter = build.adapter(net)
    for name, parameter in adapter.named_parameters():
        if name.endswith(("up", "gain")):
            torch.nn.init.zeros_(parameter)
    assert {change.size for change in changes(adapter, net) if change.relative} == {0.0}


def test_another_network_is_refused() -> None:
    adapter = build.adapter(build.network())
    other = build.network()
    other.mix = torch.nn.Linear(17, 12)
    with pytest.raises(MismatchError, match="mix"):
        changes(adapter, other)
    del other.mix
    with pytest.raises(MismatchError, match="layer mix of the adapter is not in the network"):
        changes(adapter, other)
