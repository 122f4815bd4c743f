from __future__ import annotations

import itertools
import math
from dataclasses import replace

import torch
from torch import nn

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.plan import make_plan
from vision_lora.options.train import TrainConfig
from vision_lora.training.loop.fit import parameter_groups, schedule, side_at


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


def test_schedule_rises_and_falls() -> None:
    factors = [schedule(step, 100, 10) for step in range(100)]
    assert factors[:10] == [(step + 1) / 10 for step in range(10)]
    assert max(factors) == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors[10:]))
    assert math.isclose(schedule(100, 100, 10), 0.01)


def test_pictures_grow_to_their_size_for_the_last_quarter() -> None:
    config = TrainConfig(data="d", imgsz=320, grow=0.5, epochs=20)
    sides = [side_at(epoch, config) for epoch in range(20)]
    assert sides[0] == 160
    assert all(one <= other and other % 32 == 0 for one, other in itertools.pairwise(sides))
    assert set(sides[15:]) == {320}
    assert {side_at(epoch, replace(config, grow=1.0)) for epoch in range(20)} == {320}
    assert side_at(0, replace(config, epochs=1)) == 160
