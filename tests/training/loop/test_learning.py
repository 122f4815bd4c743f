"""What learns: by which rate, and with which decay."""

from __future__ import annotations

import torch
from torch import nn

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.plan import make_plan
from vision_lora.options.train import TrainConfig
from vision_lora.training.loop.learning import parameter_groups


def test_only_a_learns_more_slowly_and_only_matrices_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 8))
    adapter = Adapter.from_plan(make_plan(network, rank=2), Card("test", "base.pt", "", ("a",), 2.0))
    groups = parameter_groups(adapter, TrainConfig(data="d", lora_plus=8.0, weight_decay=0.1))
    by_ratio = {group["ratio"]: {id(parameter) for parameter in group["params"]} for group in groups if group["params"]}
    downs = {id(delta.down) for delta in adapter.deltas.values()}
    assert by_ratio[1 / 8] == downs
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == downs | {id(delta.up) for delta in adapter.deltas.values()}
    everything = [parameter for group in groups for parameter in group["params"]]
    assert len(everything) == len(list(adapter.parameters()))


def test_the_frozen_factor_is_in_no_group() -> None:
    network = nn.Sequential(nn.Linear(8, 8))
    adapter = Adapter.from_plan(make_plan(network, rank=2, variant="lora-fa"), Card("test", "b.pt", "", ("a",), 2.0))
    groups = parameter_groups(adapter, TrainConfig(data="d"))
    down = next(iter(adapter.deltas.values())).down
    assert not any(down is parameter for group in groups for parameter in group["params"])
    torch.optim.AdamW(groups, lr=1e-3)
