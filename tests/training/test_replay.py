"""Everyday pictures are replayed as large as the base knows them, at the cost of half a batch of defects."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vision_lora.options.train import TrainConfig
from vision_lora.training.replay import replay_loader


@pytest.mark.parametrize(
    ("imgsz", "batch", "side", "shape"),
    [
        (320, 16, 640, (2, 3, 640, 640)),
        (640, 4, 640, (2, 3, 640, 640)),
        (96, 16, 64, (8, 3, 96, 96)),  # larger than the base's own: they are found there
        (64, 16, 640, (2, 3, 128, 128)),  # much smaller: twice as large is enough
        (64, 4, 128, (1, 3, 128, 128)),
    ],
)
def test_batches_are_of_the_bases_side_and_of_half_the_pixels(
    tmp_path: Path, imgsz: int, batch: int, side: int, shape: tuple[int, ...]
) -> None:
    for index in range(3):
        Image.effect_noise((96, 80), 80).convert("RGB").save(tmp_path / f"{index}.png")
    config = TrainConfig(data="-", imgsz=imgsz, batch=batch, joint=True, replay=str(tmp_path), workers=0)
    replay = replay_loader(config, side, 4)
    assert [tuple(each.images.shape) for each in replay] == [shape] * 4


def test_without_photographs_drawn_ones_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_lora.training.replay.LEAVES", 2)
    config = TrainConfig(data="-", imgsz=64, batch=4, joint=True, workers=0)
    replay = replay_loader(config, 64, 1)
    assert [tuple(each.images.shape) for each in replay] == [(2, 3, 64, 64)]
