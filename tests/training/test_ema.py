from __future__ import annotations

import torch
from torch import nn

from vision_lora.training.ema import Ema


def test_average_follows_and_is_swapped_in_for_a_while() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = Ema(module, decay=0.9)
    nn.init.ones_(module.weight)
    ema.update()  # early steps: decay 2 / 11
    assert torch.allclose(ema.average["weight"], torch.tensor([[9 / 11]]))
    with ema.applied():
        assert torch.allclose(module.weight, torch.tensor([[9 / 11]]))
    assert module.weight.item() == 1
    for _ in range(500):
        ema.update()
    assert torch.allclose(ema.average["weight"], torch.ones(1, 1))


def test_buffers_of_batchnorm_are_averaged_too() -> None:
    module = nn.BatchNorm2d(1)
    ema = Ema(module, decay=0.5)
    module(torch.full((4, 1, 2, 2), 10.0))
    ema.update()
    assert 0 < ema.average["running_mean"].item() < 1.01
    assert ema.average["num_batches_tracked"].item() == 1


def test_no_decay_follows_the_module() -> None:
    module = nn.Linear(2, 2)
    ema = Ema(module, decay=0.0)
    nn.init.normal_(module.weight)
    ema.update()
    assert torch.equal(ema.average["weight"], module.weight)


def test_state_goes_on() -> None:
    module = nn.Linear(2, 2)
    first, second = Ema(module, 0.9), Ema(nn.Linear(2, 2), 0.9)
    nn.init.normal_(module.weight)
    first.update()
    second.load_state_dict(first.state_dict())
    assert second.steps == 1
    assert torch.equal(second.average["weight"], first.average["weight"])
