"""Overlapping pictures, copies among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vision_lora.datasets import open_dataset
from vision_lora.datasets.checking.overlap import clusters, find_overlaps, read_squares, square


@pytest.fixture
def surface() -> NDArray[np.uint8]:
    """A large piece of textured surface, (600, 600, 3)."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(128, 60, (600, 600)).astype(np.float32), (0, 0), 2) - 128
    return np.repeat((128 + 4 * texture).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def crop(surface: NDArray[np.uint8], x: int, y: int) -> NDArray[np.uint8]:
    return square(surface[y : y + 200, x : x + 200])


@pytest.mark.parametrize("shift", [(0, 0), (30, 0), (0, -55), (75, 60), (-62, 70), (13, 7), (-75, -75)])
def test_shifted_crops_are_found_with_their_shift(surface: NDArray[np.uint8], shift: tuple[int, int]) -> None:
    dx, dy = shift
    squares = np.stack([crop(surface, 200, 200), crop(surface, 200 + dx, 200 + dy)])
    (pair,) = find_overlaps(squares)
    assert (pair.first, pair.second) == (0, 1)
    assert pair.correlation > 0.99
    assert (round(pair.dx * 200), round(pair.dy * 200)) == shift


def test_light_and_compression_do_not_hide_a_copy(surface: NDArray[np.uint8]) -> None:
    part = surface[100:300, 100:300]
    _, data = cv2.imencode(".jpg", (part * 0.6 + 40).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    larger = cv2.resize(part, (500, 500), interpolation=cv2.INTER_CUBIC)
    assert len(find_overlaps(np.stack([square(part), square(again), square(larger)]))) == 3


def test_other_places_of_the_same_surface_do_not_overlap(surface: NDArray[np.uint8]) -> None:
    squares = np.stack([crop(surface, x, y) for x in (0, 200, 400) for y in (0, 200, 400)])
    assert find_overlaps(squares) == []


def test_flat_pictures_say_nothing() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((4, 200, 200), 90, np.uint8)
    flat[2:] += rng.integers(0, 2, (2, 200, 200), dtype=np.uint8)
    assert find_overlaps(flat) == []


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_compare(count: int) -> None:
    assert find_overlaps(np.zeros((count, 200, 200), np.uint8)) == []


def test_blocks_change_nothing(surface: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    squares = np.stack([crop(surface, *rng.integers(0, 400, 2).tolist()) for _ in range(30)])
    whole = find_overlaps(squares)
    monkeypatch.setattr("vision_lora.datasets.checking.overlap._BLOCK", 7)
    assert {(p.first, p.second) for p in find_overlaps(squares)} == {(p.first, p.second) for p in whole}
    assert whole


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_of_torch_are_left_as_they_were(two_threads: None) -> None:
    find_overlaps(np.zeros((3, 200, 200), np.uint8))
    assert torch.get_num_threads() == 2


def test_unreadable_pictures_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    squares, errors = read_squares([tmp_path / "a.png"])
    assert squares.shape == (1, 200, 200)
    assert "a.png" in errors[0]


def test_clusters_follow_links() -> None:
    assert clusters(6, [(4, 1), (1, 3), (5, 2)]) == [0, 1, 2, 1, 1, 2]


@pytest.mark.slow
def test_most_leaks_of_neu_det_are_found(shared: Path) -> None:
    """The data's README counts 340 pairs across the main split, 714 in all; at least 80 % must be found.

    The grouped split keeps the README's groups together: what crosses it is a pair that the README does not have, or a
    false alarm, so such pairs must be few.
    """
    main = open_dataset(shared / "datasets/neu-det")
    split_of = {sample.path.name: split for split, samples in main.splits.items() for sample in samples}
    grouped = open_dataset(shared / "datasets/neu-det/data_grouped.yaml")
    group_of = {sample.path.name: split for split, samples in grouped.splits.items() for sample in samples}
    paths = [sample.path for samples in main.splits.values() for sample in samples]
    squares, _ = read_squares(paths)
    pairs = [(paths[pair.first].name, paths[pair.second].name) for pair in find_overlaps(squares)]
    named = [(one, other) for one, other in pairs if group_of[one] == group_of[other]]
    assert len(named) >= 0.8 * 714
    assert sum(split_of[one] != split_of[other] for one, other in named) >= 0.8 * 340
    assert len(pairs) - len(named) <= 0.08 * len(pairs)
    # Pictures of different defects never show the same piece.
    assert all(one.rsplit("_", 1)[0] == other.rsplit("_", 1)[0] for one, other in pairs)
