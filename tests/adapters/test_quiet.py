"""A quiet start hears the new inputs and not the old ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.plan import make_plan
from vision_lora.adapters.quiet import quiet_start


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.grouped(self.conv(x)).mean((2, 3)))


@pytest.fixture
def pictures() -> tuple[list[Tensor], list[Tensor]]:
    """Old pictures fill channels 0 to 3, new ones 2 to 5."""
    torch.manual_seed(0)
    old, new = torch.randn(4, 6, 8, 8), torch.randn(4, 6, 8, 8)
    old[:, 4:], new[:, :2] = 0, 0
    return [old[:2], old[2:]], [new]


def test_rows_hear_what_only_new_pictures_have(pictures: tuple[list[Tensor], list[Tensor]]) -> None:
    old, new = pictures
    network = Net().requires_grad_(False)
    adapter = Adapter.from_plan(make_plan(network, rank=2), Card("test", "b.pt", "", ("a",), 2.0))
    before = {site: delta.get_parameter("down").clone() for site, delta in adapter.deltas.items()}
    assert quiet_start(network, adapter, old, new, network) == 2
    energy = {}
    for name, batch in (("old", torch.cat(old)), ("new", torch.cat(new))):
        x = nn.functional.unfold(batch, 3, padding=1)
        energy[name] = (adapter.deltas["conv"].get_parameter("down") @ x).square().mean().item()
    assert energy["old"] < 1e-4 * energy["new"]
    for site, rows in before.items():
        after = adapter.deltas[site].get_parameter("down")
        assert torch.equal(after, rows) == (site == "grouped")
        assert torch.allclose(after.norm(dim=1).mean(), rows.norm(dim=1).mean())
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_silence_is_no_error() -> None:
    network = Net().requires_grad_(False)
    adapter = Adapter.from_plan(make_plan(network, rank=2), Card("test", "b.pt", "", ("a",), 2.0))
    quiet_start(network, adapter, [torch.zeros(1, 6, 8, 8)], [torch.zeros(1, 6, 8, 8)], network)
    assert all(torch.isfinite(parameter).all() for parameter in adapter.parameters())
