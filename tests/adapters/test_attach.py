from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from vision_lora.adapters.adapter import Adapter, Card, fingerprint
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.layers import Adapted
from vision_lora.adapters.plan import make_plan
from vision_lora.errors import AdapterError, WrongBaseError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 5, 1)).requires_grad_(False)


def adapter(base: nn.Module, seed: int) -> Adapter:
    torch.manual_seed(seed)
    made = Adapter.from_plan(
        make_plan(base, rank=2), Card("test", "base.pt", fingerprint(base.state_dict()), ("a",), 2.0)
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.3)
    return made


@pytest.fixture
def base() -> nn.Sequential:
    return network()


@pytest.fixture
def adapters(base: nn.Sequential) -> AdapterSet:
    return AdapterSet(base, fingerprint(base.state_dict()))


@torch.no_grad()
def test_switching_between_adapters(base: nn.Sequential, adapters: AdapterSet) -> None:
    x = torch.randn(1, 3, 8, 8)
    outputs = {None: base(x)}
    for seed, name in enumerate(["one", "two"]):
        alone = AdapterSet(copy.deepcopy(base), adapters.fingerprint)
        alone.attach(adapter(base, seed))
        outputs[name] = alone.network(x)
        adapters.attach(adapter(base, seed), name, use=False)
    assert adapters.active is None
    for name in ("one", "two", None, "two", "one"):
        adapters.use(name)
        assert torch.equal(base(x), outputs[name])
    adapters.detach("one")
    assert adapters.active is None
    assert torch.equal(base(x), outputs[None])
    adapters.use("two")
    assert torch.equal(base(x), outputs["two"])


def test_the_networks_state_stays_the_bases(base: nn.Sequential, adapters: AdapterSet) -> None:
    adapters.attach(adapter(base, 0))
    assert fingerprint(base.state_dict()) == adapters.fingerprint
    assert list(base.state_dict()) == list(network().state_dict())
    assert base.train().state_dict().keys() == network().state_dict().keys()


def test_wrong_base_is_named(base: nn.Sequential, adapters: AdapterSet) -> None:
    made = adapter(base, 0)
    strange = Adapter(made.deltas, replace(made.card, fingerprint="0" * 64, base="other.pt"))
    with pytest.raises(WrongBaseError, match=r"made for base other\.pt \(000000000000\), not for this one"):
        adapters.attach(strange)
    assert not any(isinstance(module, Adapted) for module in base.modules())


def test_nothing_is_attached_after_a_mismatch(base: nn.Sequential, adapters: AdapterSet) -> None:
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 6, 1))
    strange = Adapter(adapter(wide, 0).deltas, replace(adapter(base, 0).card))
    with pytest.raises(AdapterError, match="layer 2: the adapter has 6 output channels, not 5"):
        adapters.attach(strange)
    with pytest.raises(AdapterError, match=r"layer gone\.conv of the adapter is not in the network"):
        adapters.attach(Adapter({"gone.conv": adapter(base, 0).deltas["0"]}, adapter(base, 0).card))
    assert not any(isinstance(module, Adapted) for module in base.modules())
    assert not adapters.adapters


def test_misuse_is_named(base: nn.Sequential, adapters: AdapterSet) -> None:
    first = adapter(base, 0)
    with pytest.raises(AdapterError, match="no adapter is active"):
        adapters.merge()
    with pytest.raises(AdapterError, match="nothing to undo"):
        adapters.unmerge()
    adapters.attach(first)
    with pytest.raises(AdapterError, match="named 'default' is attached already"):
        adapters.attach(adapter(base, 1))
    with pytest.raises(AdapterError, match="this adapter is attached already"):
        adapters.attach(first, "again")
    with pytest.raises(AdapterError, match=r"no adapter named 'x' is attached \(attached: default\)"):
        adapters.use("x")
    adapters.merge()
    for action in (
        adapters.merge,
        lambda: adapters.attach(adapter(base, 1), "b"),
        adapters.detach,
        lambda: adapters.use(None),
    ):
        with pytest.raises(AdapterError, match="is merged into the network"):
            action()


def test_merging_new_class_rows_sets_the_number_of_channels(base: nn.Sequential, adapters: AdapterSet) -> None:
    plan = make_plan(base, rank=2, class_layers=["2"], new_classes=3)
    adapters.attach(Adapter.from_plan(plan, Card("test", "base.pt", adapters.fingerprint, ("a", "b", "c"), 2.0)))
    adapters.merge()
    assert base[2].out_channels == 3
    assert base(torch.zeros(1, 3, 4, 4)).shape[1] == 3
    adapters.unmerge()
    assert base[2].out_channels == 5


def test_fingerprint_sees_names_shapes_types_and_values() -> None:
    state = {"a": torch.zeros(2, 3)}
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3).half()},
        {"a": torch.ones(2, 3)},
    ]
    prints = {fingerprint(state), *map(fingerprint, others)}
    assert len(prints) == 5
    assert fingerprint({"a": torch.zeros(2, 3), "c": torch.ones(1)}) == fingerprint({"c": torch.ones(1), **state})
