"""Tiles: cut for training, joined at inference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.build import picture
from vision_lora.datasets import Sample
from vision_lora.datasets.tiles import TileDetections, cut_tiles, join_tiles, tile_windows
from vision_lora.errors import ConfigError
from vision_lora.pictures.images import read_image


def frame(path: Path, boxes: list[list[float]], width: int = 1000, height: int = 600) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(path, width, height, array, np.arange(len(array)))


@pytest.mark.parametrize("size", [(1000, 600), (640, 640), (641, 2000), (100, 50), (4096, 3000)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_windows_cover_the_frame_with_the_overlap(size: tuple[int, int], overlap: float) -> None:
    width, height = size
    windows = np.array(tile_windows(width, height, 640, overlap))
    seen = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in windows:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1, y2 - y1) == (min(640, width), min(640, height))
        seen[y1:y2, x1:x2] = True
    assert seen.all()
    starts = np.unique(windows[:, 0])
    assert (np.diff(starts) <= 640 * (1 - overlap) + 1).all()


@pytest.mark.parametrize(("tile", "overlap"), [(16, 0.2), (640, 1.0), (640, -0.1)])
def test_windows_refuse(tile: int, overlap: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        tile_windows(1000, 1000, tile, overlap)


def test_boxes_follow_their_tile(tmp_path: Path) -> None:
    left, right = cut_tiles([frame(tmp_path, [[10, 20, 30, 40], [900, 500, 950, 550]])], 640, 0.2)
    np.testing.assert_array_equal(left.boxes, [[10, 20, 30, 40]])
    np.testing.assert_array_equal(right.boxes, [[540, 500, 590, 550]])
    assert (left.classes.tolist(), right.classes.tolist()) == ([0], [1])


def test_slivers_are_neither_defect_nor_background(tmp_path: Path) -> None:
    left, right = cut_tiles([frame(tmp_path, [[620, 0, 720, 100]])], 640, 0.2)
    assert not len(left.boxes), "a fifth of the box is left"
    np.testing.assert_array_equal(left.ignored, [[620, 0, 640, 100]])
    assert left.ignored_classes.tolist() == [0]
    np.testing.assert_array_equal(right.boxes, [[260, 0, 360, 100]])
    assert not len(right.ignored)


def test_a_tile_reads_its_part(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 200, 150)
    whole = read_image(path)
    for tile in cut_tiles([frame(path, [], 200, 150)], 64, 0.25):
        assert tile.window is not None
        x1, y1, x2, y2 = tile.window
        np.testing.assert_array_equal(tile.read(), whole[y1:y2, x1:x2])


def cut_perfectly(boxes: list[list[float]], width: int = 1000, height: int = 600) -> list[TileDetections]:
    """What a detector that sees everything, slivers too, finds in each tile."""
    found = []
    for tile in cut_tiles([frame(Path("a.png"), boxes, width, height)], 320, 0.25, min_visibility=0.0):
        assert tile.window is not None
        scores = np.full(len(tile.boxes), 0.9, np.float32)
        found.append(TileDetections(tile.window, tile.boxes, scores, tile.classes * 0))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_cutting_and_joining_gives_the_boxes_back(seed: int) -> None:
    """Defects smaller than the overlap are whole in some tile; joined, each is there once and whole."""
    rng = np.random.default_rng(seed)
    corners = [[x, y] for x in range(20, 900, 110) for y in range(20, 500, 110)]
    boxes = [
        [x, y, x + w, y + h] for (x, y), (w, h) in zip(corners, rng.integers(10, 78, (len(corners), 2)), strict=True)
    ]
    joined, scores, classes = join_tiles(cut_perfectly(boxes), 1000, 600)
    assert len(joined) == len(scores) == len(classes) == len(boxes)
    np.testing.assert_allclose(joined[np.lexsort(joined.T)], np.array(boxes, np.float32)[np.lexsort(np.array(boxes).T)])


def test_a_scratch_through_four_tiles_is_one() -> None:
    joined, _, _ = join_tiles(cut_perfectly([[5, 100, 995, 140]]), 1000, 600)
    np.testing.assert_allclose(joined, [[5, 100, 995, 140]])


def test_classes_and_neighbours_stay_apart() -> None:
    window = (0, 0, 320, 320)
    boxes = np.array([[10, 10, 50, 50], [12, 12, 50, 50]], np.float32)
    scores = np.array([0.5, 0.8], np.float32)
    one = TileDetections(window, boxes, scores, np.array([0, 0]))
    assert len(join_tiles([one], 320, 320)[0]) == 2, "boxes of one tile are its detector's business"
    other = TileDetections((240, 0, 560, 320), np.array([[20, 10, 60, 50]], np.float32), scores[:1], np.array([1]))
    beside = TileDetections(window, np.array([[260, 10, 300, 50]], np.float32), scores[:1], np.array([0]))
    assert len(join_tiles([beside, other], 560, 320)[0]) == 2, "same place, another class"


def test_nothing_found() -> None:
    boxes, scores, classes = join_tiles([], 100, 100)
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))
