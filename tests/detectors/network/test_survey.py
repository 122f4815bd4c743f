"""What a pass shows of the layers of any network, and what is done with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.detectors.build import MAKERS, NAMES, make, pictures
from vision_lora.detectors.network.survey import survey
from vision_lora.detectors.new_adapter import new_adapter


class Net(nn.Module):
    """Halves its picture three times, and sums in place as residual networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(8, 8, 3, padding=1)  # stands first, runs last
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.same = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.unused = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x))
        y = self.same(x)
        y += x
        z = torch.relu_(self.third(y))
        return self.late(self.up(z))


def test_early_layers_come_before_the_picture_is_small_in_the_order_in_which_they_run() -> None:
    network = Net().requires_grad_(False)
    seen = survey(network, lambda: network(torch.zeros(1, 3, 32, 32)))
    assert seen.stem == {"first"}
    assert seen.early == {"first", "second", "same"}  # `late` and `up` have a quarter of the side too, but run later
    assert seen.overwritten == {"same", "third"}


def test_an_embedding_of_patches_is_early() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), nn.Flatten(2), nn.Linear(4, 4)).requires_grad_(False)
    assert survey(network, lambda: network(torch.zeros(1, 3, 32, 32))).early == {"0"}


@pytest.mark.parametrize("variant", ["lora", "lora-fa"])
@pytest.mark.parametrize("key", MAKERS)
def test_no_network_overwrites_what_a_backward_keeps(key: str, variant: str) -> None:
    """Residual sums and activations in place once stopped `lora-fa` on ResNets: autograd refused the backward."""
    adapter = new_adapter(make(key), NAMES, rank=4, variant=variant, imgsz=128)
    detector = make(key)  # as with an adapter from a file: this one has made no plan
    detector.attach(adapter)
    torch.stack(list(detector.losses(*pictures(2)).values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in adapter.parameters() if p.grad is not None)
    assert sum(p.grad is not None for p in adapter.parameters()) > 10
