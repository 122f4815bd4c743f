"""Replayed pictures: windows of the base's own size down to the one of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor

from vision_lora.config import TrainConfig
from vision_lora.training.replay import open_replay, window


def places(side: int) -> Tensor:
    """A picture whose first channel is each pixel's column, and the second its row."""
    across = torch.arange(side, dtype=torch.uint8).expand(side, side)
    return torch.stack((across, across.T, across))[None]


def test_a_window_is_a_square_part_at_any_size_between() -> None:
    images, random = places(128), torch.Generator().manual_seed(0)
    spans = []
    for _ in range(60):
        part = window(images, 32, random)
        assert part.shape == (1, 3, 32, 32)
        assert part.dtype == torch.uint8
        columns, rows = part[0, 0, 0].float(), part[0, 1, :, 0].float()
        assert columns[-1] - columns[0] == pytest.approx(float(rows[-1] - rows[0]), abs=2)
        assert (columns.diff() > 0).all()
        spans.append(float(columns[-1] - columns[0]))
    assert min(spans) < 45
    assert max(spans) > 110


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    images = places(64)
    assert window(images, 64, torch.Generator()).equal(images)


def test_photographs_are_opened_at_the_bases_side_and_windows_follow_the_epoch(tmp_path: Path) -> None:
    for index in range(4):
        Image.effect_noise((96, 80), 80).convert("RGB").save(tmp_path / f"{index}.png")
    config = TrainConfig(data="-", imgsz=64, batch=4, joint=True, replay=str(tmp_path), workers=0)
    replay = open_replay(config, 96, 3, Fabric(accelerator="cpu"))
    epochs = []
    for epoch in (0, 1, 0):
        replay.set_epoch(epoch)
        epochs.append(list(replay))
    assert [tuple(batch.shape) for batch in epochs[0]] == [(2, 3, 64, 64)] * 3
    assert all(one.equal(other) for one, other in zip(epochs[0], epochs[2], strict=True))
    assert not any(one.equal(other) for one, other in zip(epochs[0], epochs[1], strict=True))


def test_without_photographs_drawn_ones_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_lora.training.replay.LEAVES", 2)
    replay = open_replay(TrainConfig(data="-", imgsz=64, batch=4, workers=0), 96, 1, Fabric(accelerator="cpu"))
    assert [tuple(batch.shape) for batch in replay] == [(2, 3, 64, 64)]
