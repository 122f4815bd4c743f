from __future__ import annotations

import itertools
import math
from dataclasses import replace

from vision_lora.options.train import TrainConfig
from vision_lora.training.loop.fit import schedule, side_at


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
