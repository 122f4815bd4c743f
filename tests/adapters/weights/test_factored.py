"""The backward through the factors: the same gradients as autograd's, without the weight's or the layer's input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vision_lora.adapters.layers import adapt, sites
from vision_lora.adapters.weights import factored
from vision_lora.adapters.weights.deltas import FrozenDown, LowRank, RankStabilised, ScaleShift, WeightDecomposed

CASES = {
    "dense": (lambda: nn.Conv2d(8, 16, 3, padding=1), (2, 8, 12, 12)),
    "strided": (lambda: nn.Conv2d(8, 16, 3, stride=2, padding=1), (2, 8, 12, 12)),
    "dilated, no bias": (lambda: nn.Conv2d(8, 16, 3, padding=2, dilation=2, bias=False), (2, 8, 12, 12)),
    "linear": (lambda: nn.Linear(8, 16), (2, 5, 8)),
}


def gradients(layer: nn.Module, delta: LowRank, x: Tensor) -> list[Tensor]:
    output = layer(x)
    return [output, *torch.autograd.grad(output.float().sin().sum(), [x, *delta.learned().values()])]


@pytest.mark.parametrize("kind", [LowRank, RankStabilised, FrozenDown])
@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_autograds(case: str, kind: type[LowRank], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factored, "PAYS", 0)
    torch.manual_seed(0)
    make, shape = CASES[case]
    layer = adapt(make().requires_grad_(False))
    site = sites(layer)[""]
    delta = kind(*site.rows.shape, 4, 8.0)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter.normal_(0, 0.3)
    layer.active[""] = delta
    x = torch.randn(shape)
    x = (x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x).requires_grad_()
    assert factored.applies(layer, delta, x)
    ours = gradients(layer, delta, x)
    monkeypatch.setattr(factored, "applies", lambda layer, delta, x: False)
    for mine, expected in zip(ours, gradients(layer, delta, x), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_the_input_is_not_kept() -> None:
    kept: list[int] = []
    layer = adapt(nn.Conv2d(64, 8, 1).requires_grad_(False))
    x = torch.randn(1, 64, 32, 32)
    for delta in (LowRank(8, 64, 4, 4.0), FrozenDown(8, 64, 4, 4.0)):
        layer.active[""] = delta
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            layer(x)
        kept.append(max(sizes))
    assert kept[0] == x.numel()
    assert kept[1] == 8 * 32 * 32  # the output, which the activation keeps anyway


def test_half_precision_under_autocast() -> None:
    torch.manual_seed(0)
    layer = adapt(nn.Conv2d(8, 16, 3, padding=1).requires_grad_(False))
    delta = FrozenDown(16, 72, 4, 4.0)
    with torch.no_grad():
        delta.up.normal_(0, 0.1)
    layer.active[""] = delta
    x = torch.randn(2, 8, 12, 12, requires_grad=True)
    exact = gradients(layer, delta, x)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    half = torch.autograd.grad(output.float().sin().sum(), [x, *delta.learned().values()])
    for mine, expected in zip(half, exact[1:], strict=True):
        assert mine.dtype == torch.float32
        assert (mine - expected).abs().max() <= 0.05 * expected.abs().max()


def test_where_it_does_not_apply() -> None:
    x = torch.zeros(1, 8, 4, 4)
    low = FrozenDown(8, 72, 4, 4.0)
    assert not factored.applies(nn.Conv2d(8, 8, 3, padding_mode="circular", padding=1), low, x)
    assert not factored.applies(nn.Conv2d(16, 8, 3, groups=2), low, x)
    assert not factored.applies(nn.Conv2d(8, 8, 3), ScaleShift(8), x)


def test_a_learned_a_takes_it_where_the_weight_is_much_larger_than_its_factors() -> None:
    x = torch.zeros(1, 128, 4, 4)
    large, small = nn.Conv2d(128, 128, 3), nn.Conv2d(128, 16, 1)
    assert factored.applies(large, LowRank(128, 1152, 8, 8.0), x)
    assert not factored.applies(small, LowRank(16, 128, 8, 8.0), x)
    assert not factored.applies(large, WeightDecomposed(128, 1152, 8, 8.0), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not factored.applies(large, LowRank(128, 1152, 8, 8.0), x)
        assert factored.applies(nn.Linear(512, 512), LowRank(512, 512, 8, 8.0), torch.zeros(4, 512))


def test_the_gradient_of_a_frozen_input_is_not_computed() -> None:
    layer = adapt(nn.Conv2d(128, 128, 3, padding=1).requires_grad_(False))
    delta = LowRank(128, 1152, 8, 8.0)
    layer.active[""] = delta
    layer(torch.randn(1, 128, 4, 4)).sum().backward()
    assert delta.up.grad is not None
    assert delta.up.grad.abs().max() > 0
    assert delta.down.grad is not None


def test_a_channel_that_is_switched_off_stays_finite() -> None:
    layer = adapt(nn.Conv2d(128, 128, 3, padding=1).requires_grad_(False))
    delta = LowRank(128, 1152, 8, 8.0)
    with torch.no_grad():
        delta.gain[0] = -1
    layer.active[""] = delta
    layer(torch.randn(1, 128, 4, 4)).sum().backward()
    assert torch.isfinite(delta.gain.grad).all()
