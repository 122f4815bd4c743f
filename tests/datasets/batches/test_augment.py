"""Recipes: found by name, checked, and safe for boxes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from vision_lora.datasets.batches.augment import Recipe, load_recipe
from vision_lora.datasets.batches.mix import Picture, cut_boxes, mosaic, paste_defect
from vision_lora.errors import ConfigError


def marked(seed: int = 0, side: int = 160, background: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey picture with one bright rectangle and its box."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(20, side - 70, 2)
    w, h = rng.integers(20, 50, 2)
    image = np.full((side, side, 3), background, np.uint8)
    image[y : y + h, x : x + w] = 250
    return image, np.array([[x, y, x + w, y + h]], np.float32), np.array([2])


@pytest.mark.parametrize("name", ["surface", "conveyor"])
@pytest.mark.parametrize("seed", range(40))
def test_boxes_stay_on_what_they_mark(name: str, seed: int) -> None:
    image, boxes, classes = marked(seed)
    out, moved, kinds = load_recipe(name).build()(image.copy(), boxes, classes, np.random.default_rng(seed))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert kinds.tolist() == [2] * len(moved)
    if not len(moved):
        return
    (x1, y1, x2, y2) = moved[0]
    assert 0 <= x1 < x2 <= 160
    assert 0 <= y1 < y2 <= 160
    middle = float(np.median(out[:, :, 0]))
    ys, xs = (out[:, :, 0] > (middle + out.max()) / 2).nonzero()
    # Where the rectangle was, its box is: to a few pixels of blur, noise and the slack of a turned rectangle.
    assert abs(xs.min() - x1) <= 6
    assert abs(xs.max() + 1 - x2) <= 6
    assert abs(ys.min() - y1) <= 6
    assert abs(ys.max() + 1 - y2) <= 6


def test_a_recipe_follows_its_generator_and_leaves_its_input_alone() -> None:
    image, boxes, classes = marked()
    before = boxes.copy()
    augment = load_recipe("surface").build()
    first, again, other = (augment(image.copy(), boxes, classes, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(boxes, before)


def test_surface_leaves_hue_alone() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 200
    augment = load_recipe("surface").build()
    for seed in range(30):
        out, *_ = augment(image.copy(), np.zeros((0, 4), np.float32), np.zeros(0, int), np.random.default_rng(seed))
        centre = out[24:40, 24:40].reshape(-1, 3).astype(int)
        assert (centre[:, 0] >= centre[:, 1:].max(1)).all(), "red stays the strongest"


def test_none_changes_nothing() -> None:
    image, boxes, classes = marked()
    out = load_recipe("none").build()(image, boxes, classes, np.random.default_rng(0))
    assert out[0] is image


def test_importing_the_library_asks_nobody() -> None:
    import os

    load_recipe("surface")
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


BROKEN = {
    "unknown key": ("transform: []", "unknown key 'transform'"),
    "unknown transform": ("transforms: [{Flipp: {p: 1}}]", "no transform 'Flipp'"),
    "not a transform": ("transforms: [{Compose: {}}]", "no transform 'Compose'"),
    "unknown argument": ("transforms: [{HorizontalFlip: {probability: 1}}]", "no argument 'probability'"),
    "argument out of range": ("transforms: [{HorizontalFlip: {p: 7}}]", "HorizontalFlip"),
    "two in one": ("transforms: [{HorizontalFlip: {}, VerticalFlip: {}}]", "is no transform"),
    "arguments no mapping": ("transforms: [{HorizontalFlip: 3}]", "expected its arguments"),
    "not a list": ("transforms: {HorizontalFlip: {}}", "expected a list"),
    "share out of range": ("mosaic: 2", "`mosaic` is 2"),
    "share no number": ("copy_paste: often", "`copy_paste` is 'often'"),
    "tag": ("mosaic: !!python/name:os.system", "constructor"),
}


@pytest.mark.parametrize(("text", "found"), BROKEN.values(), ids=BROKEN)
def test_broken_recipes_are_told(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_recipe(str(tmp_path / "mine.yaml"))
    assert found in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_own_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("transforms: [{HorizontalFlip: {p: 1}}, Transpose]\nmosaic: 0.5\n")
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert (recipe.name, recipe.mosaic, recipe.copy_paste) == ("mine", 0.5, 0.0)
    image, boxes, classes = marked()
    flip = Recipe("flip", (("HorizontalFlip", {"p": 1.0}),)).build()
    out, moved, _ = flip(image.copy(), boxes, classes, np.random.default_rng(0))
    np.testing.assert_array_equal(out, image[:, ::-1])
    np.testing.assert_allclose(moved, [[160 - boxes[0, 2], boxes[0, 1], 160 - boxes[0, 0], boxes[0, 3]]], atol=1e-3)


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="expected conveyor, none, photograph, replay, surface"):
        load_recipe("surfaces")


def square(seed: int = 0, background: int = 100) -> Picture:
    image, boxes, classes = marked(seed, background=background)
    return Picture(image, boxes, classes, (0, 0, 160, 160))


@pytest.mark.parametrize("seed", range(30))
def test_mosaic_boxes_mark_bright_pixels(seed: int) -> None:
    mixed = mosaic([square(seed + i) for i in range(4)], np.random.default_rng(seed), 0.2)
    assert mixed.image.shape == (160, 160, 3)
    for x1, y1, x2, y2 in mixed.boxes.round().astype(int):
        assert (mixed.image[y1:y2, x1:x2] == 250).all()
    outside = mixed.image[..., 0] == 250
    for x1, y1, x2, y2 in mixed.boxes.round().astype(int):
        outside[y1:y2, x1:x2] = False
    assert outside.sum() <= 4 * 0.2 * 50 * 50, "only slivers have no box"


def test_mosaic_shows_four_pictures() -> None:
    mixed = mosaic([square(i, background=40 + 10 * i) for i in range(4)], np.random.default_rng(0), 0.2)
    assert {40, 50, 60, 70} <= set(np.unique(mixed.image))


@pytest.mark.parametrize("seed", range(30))
def test_pasted_defects_are_where_their_box_is(seed: int) -> None:
    grey = np.full((160, 160, 3), 60, np.uint8)
    clean = Picture(grey, np.zeros((0, 4), np.float32), np.zeros(0, int), (0, 20, 160, 140))
    pasted = paste_defect(clean, square(seed), np.random.default_rng(seed))
    ((x1, y1, x2, y2),) = pasted.boxes.round().astype(int)
    assert pasted.classes.tolist() == [2]
    assert 20 <= y1 < y2 <= 140, "never on the padding"
    assert (pasted.image[y1 + 6 : y2 - 6, x1 + 6 : x2 - 6] == 250).all()
    pasted.image[y1 - 8 : y2 + 8, max(x1 - 8, 0) : x2 + 8] = 60
    assert (pasted.image == 60).all()
    assert (clean.image == 60).all(), "the target's own picture stays"


@pytest.mark.parametrize("seed", range(30))
def test_pasted_defects_cover_no_other(seed: int) -> None:
    target = square(seed + 1)
    pasted = paste_defect(target, square(seed), np.random.default_rng(seed))
    (x1, y1, x2, y2) = target.boxes.round().astype(int)[0]
    assert (pasted.image[y1:y2, x1:x2] == 250).all()
    assert len(pasted.boxes) in (1, 2)


def test_nothing_to_paste_and_no_room() -> None:
    target, rng = square(), np.random.default_rng(0)
    empty = Picture(target.image, target.boxes[:0], target.classes[:0], target.area)
    assert paste_defect(target, empty, rng) is target
    full = Picture(target.image, np.array([[0, 0, 160, 160]], np.float32), np.array([1]), target.area)
    assert paste_defect(full, target, rng) is full
    narrow = Picture(target.image, target.boxes[:0], target.classes[:0], (0, 0, 160, 5))
    assert paste_defect(narrow, target, rng) is narrow


def test_cut_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [8, 0, 18, 10], [20, 20, 30, 30]], np.float32)
    cut, kept = cut_boxes(boxes, (5, 0, 15, 15), 0.6)
    np.testing.assert_array_equal(cut, [[8, 0, 15, 10]])
    assert kept.tolist() == [False, True, False]


def test_a_notebook_is_not_told_to_install_progress_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_recipe("surface").build()  # the library itself is loaded, and comes back after the test
    (tmp_path / "albumentations.py").write_text(
        "import warnings\nwarnings.warn('IProgress not found. Please update jupyter and ipywidgets.')\n"
        "def Compose(*_, **__): ...\nFlip = BboxParams = Compose\n"
    )
    monkeypatch.delitem(sys.modules, "albumentations")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Recipe("one", (("Flip", {}),)).build()
    assert told == []
