from __future__ import annotations

import torch
from torch import nn

from vision_lora.training.loop.flat import ALIGN, Flat


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1))
    made[0].to(memory_format=torch.channels_last)
    return made


def test_a_network_computes_and_learns_as_before() -> None:
    separate, flat_network = network(), network()
    flat = Flat(
        [
            {"params": [p for p in flat_network.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in flat_network.parameters() if p.ndim == 1], "weight_decay": 0.0},
            {"params": [], "weight_decay": 0.0},
        ]
    )
    groups = [
        {"params": [p for p in separate.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in separate.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    assert len(flat.tensors) == 2
    optimizers = [torch.optim.AdamW(groups, lr=0.01), torch.optim.AdamW(flat.groups, lr=0.01)]
    images = torch.randn(2, 3, 8, 8)
    for _ in range(3):
        for made, optimizer in zip((separate, flat_network), optimizers, strict=True):
            made(images).square().sum().backward()
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
            optimizer.step()
        optimizers[0].zero_grad()
        flat.zero_grad()
    for one, other in zip(separate.parameters(), flat_network.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    assert flat_network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert set(flat_network.state_dict()) == set(separate.state_dict())


def test_parts_begin_where_kernels_can_load() -> None:
    flat = Flat(
        [{"params": [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 5)), nn.Parameter(torch.ones(1))]}]
    )
    start = flat.tensors[0].data_ptr()
    assert [(part.data_ptr() - start) // 4 % ALIGN for part in flat.parameters] == [0, 0, 0]
    assert flat.tensors[0].sum() == 14


def test_what_keeps_something_made_of_a_part_learns_that_it_changed() -> None:
    part = nn.Parameter(torch.ones(3))
    flat = Flat([{"params": [part]}])
    before = part._version
    flat.changed()
    assert part._version > before
