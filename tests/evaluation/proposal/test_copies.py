"""What is the same view once more, and what is not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.api.build import drawn
from vision_lora.evaluation.proposal.copies import near_copy
from vision_lora.pictures.images import write_picture

SIDE = 96
PART = drawn(0)  # 96 x 80


def noisy(seed: int) -> NDArray[np.uint8]:
    """The part as a sensor sees it, with a noise of 5 grey levels."""
    noise = np.random.default_rng(seed).normal(0, 5, PART.shape)
    return np.clip(PART + noise, 0, 255).astype(np.uint8)


def darker() -> NDArray[np.uint8]:
    return (PART * 0.9).astype(np.uint8)


def scratched() -> NDArray[np.uint8]:
    """The noisy part with a scratch of one pixel's width."""
    picture = noisy(1)
    cv2.line(picture, (20, 30), (70, 50), tuple(255 if value < 128 else 0 for value in (PART[40, 45].mean(),)) * 3, 1)
    return picture


@pytest.mark.parametrize(
    ("picture", "copy"),
    [(PART, True), (noisy(1), True), (scratched(), False), (np.roll(PART, 12, 1), False), (drawn(1), False)],
    ids=["same", "noise", "scratch", "moved", "another"],
)
def test_only_the_same_view_is_a_copy(picture: NDArray[np.uint8], copy: bool, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", noisy(0))
    write_picture(tmp_path / "b.png", picture)
    assert near_copy(tmp_path / "a.png", tmp_path / "b.png", SIDE) == copy


@pytest.mark.parametrize("quality", [60, 95])
def test_encoding_and_light_make_no_other_picture(quality: int, tmp_path: Path) -> None:
    Image.fromarray(PART).save(tmp_path / "a.png")
    Image.fromarray(darker()).save(tmp_path / "b.jpg", quality=quality)
    assert near_copy(tmp_path / "a.png", tmp_path / "b.jpg", SIDE)
