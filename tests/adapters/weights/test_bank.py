"""All weights at once: the same numbers and the same gradients as layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.adapters.build import adapter_of
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.layers import AdaptedConv2d, AdaptedLinear, adapt, sites
from vision_lora.adapters.weights.bank import Bank, Link, refusal
from vision_lora.adapters.weights.deltas import VARIANTS, ScaleShift


class Kinds(nn.Module):
    """Every kind of layer that adapters change, several with equally many columns and other heights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1)
        self.taller = nn.Conv2d(8, 16, (3, 1), padding=(1, 0), groups=2, bias=False)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.strided = nn.Conv2d(16, 12, 3, stride=2, padding=2, dilation=2)
        self.narrow = nn.Conv2d(12, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2)
        self.linear = nn.Linear(36, 10, bias=False)  # as many columns as `first`
        self.attention = nn.MultiheadAttention(10, 2, batch_first=True)
        self.table = nn.Embedding(5, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.silu(self.taller(F.silu(self.first(images))))
        maps = self.up(self.narrow(self.strided(self.depthwise(maps))))
        rows = self.linear(F.adaptive_avg_pool2d(maps, 3).flatten(1))[:, None] + self.table.weight
        return self.attention(rows, rows, rows)[0]


def made(variant: str, rank: int) -> tuple[nn.Module, Adapter, list[Link]]:
    torch.manual_seed(0)
    network = Kinds().requires_grad_(False)
    adapter = adapter_of(network, variant, rank=rank)
    layers = dict(network.named_modules())
    links = []
    for site, delta in adapter.deltas.items():
        part = "" if site in layers and "" in sites(layers[site]) else site.rpartition(".")[2]
        layer = adapt(layers[site if part == "" else site.rpartition(".")[0]])
        layer.active[part] = delta
        links.append(Link(layer, part, delta))
    return network, adapter, links


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rank", [1, 3])
def test_outputs_and_every_gradient_are_those_of_layer_by_layer(variant: str, rank: int) -> None:
    network, adapter, links = made(variant, rank)
    bank = Bank(links)
    assert {type(link.layer) for link in bank.links} <= {AdaptedConv2d, AdaptedLinear}
    assert bool(bank.links) == any(type(delta).__name__ != "FrozenDown" for delta in adapter.deltas.values())
    images = torch.randn(2, 4, 12, 12, requires_grad=True)
    learned = [parameter for parameter in adapter.parameters() if parameter.requires_grad]

    def pass_and_gradients() -> list[Tensor]:
        output = network(images)
        return [output, *torch.autograd.grad(output.sin().sum(), [images, *learned])]

    expected = pass_and_gradients()
    with bank.handed_out(torch.float32):
        taken = [link.layer.given for link in bank.links]
        found = pass_and_gradients()
    assert all(taken)
    assert all(link.layer.given is None for link in bank.links)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_what_it_leaves_to_the_layers_it_names() -> None:
    _, _, links = made("lora", 2)
    told = {refusal(link) for link in links}
    assert {"ConvTranspose2d", "MultiheadAttention", "Embedding", ""} == {reason.partition(":")[0] for reason in told}
    _, _, frozen = made("lora-fa", 2)
    assert any("lora-fa" in refusal(link) for link in frozen)


def test_convolutions_get_weights_with_channels_last_and_in_the_dtype_asked_for() -> None:
    _, _, links = made("lora", 2)
    bank = Bank(links)
    for link, given in zip(bank.links, bank(torch.bfloat16), strict=True):
        weight, bias = given["weight"], given["bias"]
        assert weight is not None
        assert weight.dtype == torch.bfloat16
        assert weight.shape == link.layer.weight.shape
        assert (bias is None) == (link.layer.bias is None)
        if isinstance(link.layer, AdaptedConv2d):
            assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_shift_that_a_layer_does_not_have_leaves_its_bias() -> None:
    layer = adapt(nn.Conv2d(4, 6, 1).requires_grad_(False))
    delta = ScaleShift(6, bias=False)
    with torch.no_grad():
        delta.gain.fill_(0.5)
    bank = Bank([Link(layer, "", delta)])
    given = bank(torch.float32)[0]
    assert given["bias"] is layer.bias
    given["weight"].sum().backward()  # type: ignore[union-attr]
    assert torch.allclose(delta.gain.grad, layer.weight.flatten(1).sum(1))  # type: ignore[arg-type]


def test_a_layer_that_a_pass_leaves_out_gets_no_gradient() -> None:
    network, adapter, links = made("lora", 2)
    bank = Bank(links)
    with bank.handed_out(torch.float32):
        network.first(torch.randn(1, 4, 5, 5)).sum().backward()
    first = adapter.deltas["first"]
    assert all(parameter.grad.abs().sum() > 0 for parameter in first.parameters())
    others = [link.delta for link in bank.links if link.delta is not first]
    assert all(parameter.grad.abs().sum() == 0 for delta in others for parameter in delta.parameters())


def test_an_adapter_set_makes_them_at_once_on_a_gpu_alone() -> None:
    torch.manual_seed(0)
    network = Kinds().requires_grad_(False)
    adapter = adapter_of(network, "lora", rank=2)
    attached = AdapterSet(network, adapter.card.fingerprint)
    attached.attach(adapter)
    with attached.at_once():
        assert network.first.given is None
