"""The convolution whose bias has a gradient of its own: the same gradients as autograd's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vision_lora.adapters.layers import adapt, sites
from vision_lora.adapters.weights import bias_apart
from vision_lora.adapters.weights.deltas import ScaleShift

CASES: dict[str, Callable[[], nn.Conv2d]] = {
    "dense": lambda: nn.Conv2d(8, 16, 3, padding=1),
    "strided": lambda: nn.Conv2d(8, 16, 3, stride=2),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_autograds(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = adapt(CASES[case]().requires_grad_(False))
    delta = ScaleShift(len(sites(layer)[""].rows))
    with torch.no_grad():
        delta.gain.normal_(0, 0.3)
    layer.active[""] = delta
    x = torch.randn(2, 8, 12, 12, requires_grad=True)

    def gradients() -> list[Tensor]:
        output = layer(x)
        return [output, *torch.autograd.grad(output.sin().sum(), [x, *delta.parameters()])]

    assert bias_apart.applies(layer, x)
    ours = gradients()
    monkeypatch.setattr(bias_apart, "applies", lambda layer, x: False)
    for mine, expected in zip(ours, gradients(), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_where_it_does_not_apply() -> None:
    x = torch.zeros(1, 8, 4, 4)
    assert not bias_apart.applies(nn.Conv2d(8, 8, 3, padding_mode="circular", padding=1), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not bias_apart.applies(nn.Conv2d(8, 8, 3, padding=1), x)
