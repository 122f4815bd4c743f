"""The adapter on a small RT-DETR: attention, deformable attention and feed-forward layers of a real decoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import vision_lora.detectors  # noqa: F401 - imports Ultralytics as this package wants it
from vision_lora.adapters.adapter import Adapter, Card, fingerprint
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.layers import Adapted
from vision_lora.adapters.plan import make_plan
from vision_lora.adapters.weights.deltas import VARIANTS

TINY = {
    "nc": 4,
    "scales": {"n": [1.0, 1.0, 1024]},
    "scale": "n",
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "Conv", [32, 3, 2]],
        [-1, 1, "AIFI", [64, 4]],
    ],
    "head": [[[2, 3, 5], 1, "RTDETRDecoder", ["nc", 32, 20, 2, 4, 2, 64]]],
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    from ultralytics.nn.tasks import RTDETRDetectionModel

    torch.manual_seed(0)
    return RTDETRDetectionModel(dict(TINY), verbose=False).requires_grad_(False).eval()


def outputs(network: nn.Module) -> Tensor:
    """Boxes and scores of the last decoder layer."""
    images = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    found: Tensor = network(images)[0]
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_attach_gradient_merge_unmerge(network: nn.Module, variant: str) -> None:
    base = fingerprint(network.state_dict())
    adapters = AdapterSet(network, base)
    adapter = Adapter.from_plan(make_plan(network, rank=2, variant=variant), Card("test", "tiny", base, ("a",), 2.0))
    sites = set(adapter.deltas)
    assert any(site.endswith("self_attn.in_proj") for site in sites)
    assert any("cross_attn.sampling_offsets" in site for site in sites)
    assert any("cross_attn.value_proj" in site for site in sites)
    with torch.no_grad():
        before = outputs(network)
        adapters.attach(adapter)
        assert torch.equal(outputs(network), before)

    for delta in adapter.deltas.values():
        with torch.no_grad():
            for parameter in delta.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    outputs(network).sum().backward()
    attention = [
        parameter
        for site, delta in adapter.deltas.items()
        if "layers.1.self_attn" in site
        for parameter in delta.learned().values()
    ]
    assert attention
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in attention)

    with torch.no_grad():
        attached = outputs(network)
        assert (attached - before).abs().max() > 1e-4
        adapters.merge()
        assert not any(isinstance(module, Adapted) for module in network.modules())
        assert (outputs(network) - attached).abs().max() <= 1e-5
        adapters.unmerge()
        adapters.detach()
        assert torch.equal(outputs(network), before)
    assert fingerprint(network.state_dict()) == base
