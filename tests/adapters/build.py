"""A small network, and adapters for it whose every number is non-zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter, Card, fingerprint
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.plan import make_plan
from vision_lora.adapters.weights.deltas import LowRank, NewRows

NAMES = ("scratch", "dent", "rolled-in scale")


class SmallNet(nn.Module):
    """A convolution of each kind, and a classifying layer over 5 classes: (B, 3, S, S) to (B, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 16, 1),
            nn.SiLU(),
            nn.Conv2d(16, 16, (3, 1), padding=(1, 0), groups=2, bias=False),
            nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        )
        self.mix = nn.Linear(16, 12)
        self.classify = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.mix(self.body(images).mean((2, 3))))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SmallNet().eval().requires_grad_(False)


def adapter_set(net: nn.Module) -> AdapterSet:
    return AdapterSet(net, fingerprint(net.state_dict()))


def adapter(net: nn.Module, variant: str = "lora", *, rank: int = 2) -> Adapter:
    """An adapter for a `SmallNet`, with rows for `NAMES`."""
    return adapter_of(net, variant, rank=rank, class_layers=("classify",))


def adapter_of(
    net: nn.Module, variant: str = "lora", *, rank: int = 2, alpha: float = 4.0, class_layers: tuple[str, ...] = ()
) -> Adapter:
    """An adapter with random numbers everywhere, none of them near zero."""
    plan = make_plan(net, rank=rank, variant=variant, class_layers=class_layers, new_classes=len(NAMES))
    base = fingerprint(net.state_dict())
    made = Adapter.from_plan(
        plan, Card("small", "small.pt", base, NAMES, alpha, 64, created="2026-01-02T03:04:05+00:00")
    )
    generator = torch.Generator().manual_seed(1)
    for delta in made.deltas.values():
        for parameter in delta.parameters():
            parameter.data.copy_(torch.empty(parameter.shape).uniform_(0.1, 0.3, generator=generator))
            parameter.data.mul_(torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1)
    return made


def only_low_rank(made: Adapter) -> Adapter:
    """The same adapter with no scale, shift or class rows: what other libraries call LoRA."""
    deltas = {site: delta for site, delta in made.deltas.items() if isinstance(delta, LowRank)}
    assert not any(isinstance(delta, NewRows) for delta in deltas.values())
    for delta in deltas.values():
        torch.nn.init.zeros_(delta.gain)
        if delta.shift is not None:
            torch.nn.init.zeros_(delta.shift)
    return Adapter(deltas, made.card)
