from __future__ import annotations

import torch
from torch import nn

from vision_lora.training.loop.ema import Ema
from vision_lora.training.loop.flat import Flat


def averaged(module: nn.Module, decay: float) -> Ema:
    return Ema(Flat([{"params": list(module.parameters())}]), module, decay)


def test_average_follows_and_is_swapped_in_for_a_while() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = averaged(module, decay=0.9)
    nn.init.ones_(module.weight)
    ema.update()  # early steps: decay 2 / 11
    assert torch.allclose(ema.average[0][:1], torch.tensor([9 / 11]))
    with ema.applied():
        assert torch.allclose(module.weight, torch.tensor([[9 / 11]]))
    assert module.weight.item() == 1
    for _ in range(500):
        ema.update()
    assert torch.allclose(ema.average[0][:1], torch.ones(1))


def test_buffers_of_batchnorm_are_averaged_too() -> None:
    module = nn.BatchNorm2d(1)
    ema = averaged(module, decay=0.5)
    module(torch.full((4, 1, 2, 2), 10.0))
    ema.update()
    with ema.applied():
        assert 0 < module.running_mean.item() < 1.01
        assert module.num_batches_tracked.item() == 1


def test_no_decay_follows_the_module() -> None:
    module = nn.Linear(2, 2)
    ema = averaged(module, decay=0.0)
    nn.init.normal_(module.weight)
    ema.update()
    with ema.applied():
        assert torch.equal(ema.average[0][[0, 1, 2, 3, 64, 65]], torch.cat((module.weight.flatten(), module.bias)))


def test_state_goes_on() -> None:
    module = nn.Linear(2, 2)
    first, second = averaged(module, 0.9), averaged(nn.Linear(2, 2), 0.9)
    nn.init.normal_(module.weight)
    first.update()
    second.load_state_dict(first.state_dict())
    assert second.steps == 1
    assert torch.equal(second.average[0], first.average[0])
