"""Live BatchNorm trains as a network with BatchNorm does, and its file computes what the live network computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.adapters.build import adapter_of, adapter_set
from vision_lora.adapters.adapter import Adapter, fingerprint
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.adapters.weights.bank import Link, refusal
from vision_lora.adapters.weights.deltas import LowRank, ScaleShift
from vision_lora.adapters.weights.live import FoldedNorm, LiveNorm
from vision_lora.detectors.network.fold import fold_batchnorm


def plain() -> nn.Sequential:
    """Convolutions with BatchNorm: dense, with a bias of its own, depthwise."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8, eps=1e-3),
        nn.SiLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.SiLU(inplace=True),
        nn.Conv2d(8, 12, 1),
        nn.BatchNorm2d(12, eps=1e-3),
    )
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.2, 3)  # type: ignore[arg-type]
    return net.eval().requires_grad_(False)


def folded(net: nn.Sequential) -> tuple[nn.Sequential, dict[str, FoldedNorm]]:
    """The same network with each BatchNorm folded, and what was."""
    norms = {}
    for index, layer in enumerate(net):
        if isinstance(layer, nn.BatchNorm2d):
            conv = net[index - 1]
            assert isinstance(conv, nn.Conv2d)
            norms[str(index - 1)] = fold_batchnorm(conv, layer)
            net[index] = nn.Identity()
    return net, norms


def live(variant: str = "lora") -> tuple[nn.Sequential, Adapter, AdapterSet]:
    """A folded network in training with a live adapter that has learned something, attached."""
    net, norms = folded(plain())
    made = adapter_of(net, variant)
    assert made.thaw(norms) == 3
    adapters = adapter_set(net)
    adapters.attach(made)
    return net, made, adapters


def batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(4, 3, 12, 12, generator=generator) * 2 + 1 for _ in range(count)]


def by_hand(
    made: Adapter, image: Tensor, norms: list[nn.BatchNorm2d], convs: list[nn.Conv2d], factors: list[Tensor]
) -> Tensor:
    """The network with `nn.BatchNorm2d`'s own arithmetic: each weight changed by s·B·A / f before it is normalised."""
    x = image
    for index, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        delta = made.deltas[str(3 * index)]
        assert isinstance(delta, ScaleShift)
        weight = conv.weight
        if isinstance(delta, LowRank):
            change = delta.alpha / delta.rank * delta.up @ delta.down
            weight = weight + (change / factors[index][:, None]).view_as(weight)
        x = F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)
        gamma, beta = norm.weight * (1 + delta.gain), norm.bias + delta.shift
        x = F.batch_norm(x, norm.running_mean, norm.running_var, gamma, beta, True, 0.03, norm.eps)
        x = x if index == 2 else F.silu(x)
    return x


def test_gradients_and_statistics_are_those_of_batchnorm() -> None:
    net, made, _ = live()
    own = plain()
    norms = [layer for layer in own if isinstance(layer, nn.BatchNorm2d)]
    convs = [layer for layer in own if isinstance(layer, nn.Conv2d)]
    factors = [norm.weight / torch.sqrt(norm.running_var + norm.eps) for norm in norms]  # type: ignore[operator]
    parameters = list(made.parameters())
    net.train()
    for image in batches(3):
        found = net(image)
        expected = by_hand(made, image, norms, convs, factors)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        weights = torch.linspace(-1, 1, found.numel()).view_as(found)
        for mine, theirs in zip(
            torch.autograd.grad((found * weights).sum(), parameters),
            torch.autograd.grad((expected * weights).sum(), parameters),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
    for index, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        kept = made.deltas[str(3 * index)].norm
        assert isinstance(kept, LiveNorm)
        bias = 0 if conv.bias is None else conv.bias  # the folded layer's BatchNorm has taken it
        torch.testing.assert_close(kept.mean, norm.running_mean - bias, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(kept.var, norm.running_var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora", "ssf"])
def test_the_file_computes_what_the_live_network_does(variant: str, tmp_path: Path) -> None:
    net, made, adapters = live(variant)
    base = fingerprint(net.state_dict())
    image = batches(1)[0]
    with torch.no_grad():
        before = net.eval()(image)
        made_anew = adapter_of(folded(plain())[0], variant)
    with adapters.enabled(False), torch.no_grad():
        without = net(image)
    net.train()
    for other in batches(20):
        net(other).sum().backward()
    with torch.no_grad():
        expected = net.eval()(image)
        batch = net.train()(image)  # without gradients it is no training: no batch's statistics
    assert torch.equal(batch, expected)
    assert (expected - before).abs().max() > 0.1, "statistics have moved"
    with torch.enable_grad():
        torch.testing.assert_close(net.eval()(image), expected, rtol=1e-5, atol=1e-5)

    save_adapter(made, tmp_path / "a.safetensors")
    assert all(isinstance(delta, ScaleShift) and delta.norm for delta in made.deltas.values()), "it trains on"
    again = load_adapter(tmp_path / "a.safetensors")
    assert again.state_dict().keys() == made_anew.state_dict().keys()
    adapters.detach()
    with torch.no_grad():
        assert torch.equal(net.eval()(image), without)
        adapters.attach(again)
        torch.testing.assert_close(net(image), expected, rtol=1e-5, atol=1e-5)
    assert fingerprint(net.state_dict()) == base


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_thawing_changes_nothing_before_training(variant: str) -> None:
    """Also where the adapter has learned, as in a warm start."""
    net, norms = folded(plain())
    made = adapter_of(net, variant)
    adapters = adapter_set(net)
    adapters.attach(made)
    image = batches(1)[0]
    with torch.no_grad():
        expected = net(image)
        made.thaw(norms)
        torch.testing.assert_close(net(image), expected, rtol=1e-5, atol=1e-5)


def test_statistics_are_state_and_nothing_learned() -> None:
    _, made, _ = live()
    bare = adapter_of(folded(plain())[0])
    assert made.parameter_count() == bare.parameter_count()
    further = {name.rpartition(".")[2] for name in made.state_dict().keys() - bare.state_dict().keys()}
    assert further == {"mean", "var"}
    assert made.folded().state_dict().keys() == bare.state_dict().keys()
    assert bare.folded() is bare


def test_layers_without_batchnorm_stay_as_they_are() -> None:
    net, norms = folded(plain())
    made = adapter_of(net)
    assert made.thaw({"0": norms["0"], "elsewhere": norms["6"]}) == 1
    assert made.deltas["6"].norm is None


def test_a_channel_that_the_base_has_switched_off_stays_finite() -> None:
    own = plain()
    with torch.no_grad():
        own[1].weight[:4] = torch.tensor([0.0, -0.0, 1e-9, -1e-9])  # type: ignore[union-attr,index]
    net, norms = folded(own)
    made = adapter_of(net)
    made.thaw(norms)
    adapters = adapter_set(net)
    adapters.attach(made)
    for image in batches(3):
        net.train()(image).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in made.parameters() if parameter.grad is not None)
    with torch.no_grad():
        assert torch.isfinite(net.eval()(image)).all()


def test_a_single_number_a_channel_has_no_variance() -> None:
    """The last picture of a set, where the detector sees one cell of it."""
    net, made, _ = live()
    before = made.deltas["0"].norm.var.clone()  # type: ignore[union-attr]
    assert torch.isfinite(net.train()(torch.ones(1, 3, 1, 1))).all()
    assert torch.equal(made.deltas["0"].norm.var, before)  # type: ignore[union-attr]


def test_a_bank_leaves_live_layers_to_themselves() -> None:
    net, made, _ = live()
    assert "live BatchNorm" in refusal(Link(net[0], "", made.deltas["0"]))  # type: ignore[arg-type]
