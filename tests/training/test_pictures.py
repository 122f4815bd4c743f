"""Pictures of a run: they show what they should, and the choice of pictures is fair."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vision_lora.datasets.sample import Sample
from vision_lora.pictures.detections import Detections
from vision_lora.pictures.drawing import Colour, class_colour
from vision_lora.training.pictures import agreement, choose, save_curves, save_prediction_grid

NAMES = ("crazing", "inclusion", "scratches")
BOX = (20.0, 20.0, 80.0, 80.0)
ELSEWHERE = (120.0, 120.0, 180.0, 180.0)

Box = tuple[float, float, float, float]


def sample(*truth: tuple[Box, int], path: Path = Path("plate.png")) -> Sample:
    boxes = np.array([box for box, _ in truth], np.float32).reshape(-1, 4)
    return Sample(path, 200, 200, boxes, np.array([c for _, c in truth], np.int64))


def found(*guess: tuple[Box, int, float]) -> Detections:
    boxes = np.array([box for box, _, _ in guess], np.float32).reshape(-1, 4)
    scores = np.array([score for _, _, score in guess], np.float32)
    classes = np.array([c for _, c, _ in guess], np.int64)
    return Detections(boxes, scores, classes, ("person", *NAMES), general=1)


def pixels(path: Path, colour: Colour) -> int:
    return int((np.asarray(Image.open(path)) == np.array(colour)).all(axis=2).sum())


def rows(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": e,
            "lr": 1e-3,
            "box": 1 / e,
            "cls": 2 / e,
            "map50_95": 0.1 * e,
            "map50": 0.15 * e,
            "images_per_second": 9,
        }
        for e in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 5])
def test_curves_are_a_picture(epochs: int, tmp_path: Path) -> None:
    save_curves(tmp_path / "curves.png", rows(epochs))
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    assert picture.shape[0] > 400
    assert picture.shape[1] > 1000
    for line in ((31, 119, 180), (255, 127, 14)):  # matplotlib's first two colours: both losses, both mAPs
        assert (picture == np.array(line)).all(axis=2).any()


def test_learning_rate_and_speed_are_no_losses(tmp_path: Path) -> None:
    save_curves(tmp_path / "a.png", rows(3))
    save_curves(tmp_path / "b.png", [row | {"lr": 5.0, "images_per_second": 500.0} for row in rows(3)])
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(Image.open(tmp_path / "b.png"))).all()


def test_curves_without_an_epoch_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no epoch"):
        save_curves(tmp_path / "curves.png", [])
    assert not (tmp_path / "curves.png").exists()


def test_curves_leave_pyplot_alone() -> None:
    """Its global state would pile up figures, and a machine without a display would need a backend."""
    code = "import sys, vision_lora.training.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_grid_shows_truth_beside_prediction(tmp_path: Path) -> None:
    plate = tmp_path / "plate.png"
    Image.new("RGB", (200, 200), (90, 90, 90)).save(plate)
    save_prediction_grid(
        tmp_path / "grid.png",
        [sample((BOX, 0), path=plate)],
        # Another class; the same box as a class that is less sure; and one that is too unsure to be drawn.
        [found((BOX, 2, 0.15), (BOX, 1, 0.12), (ELSEWHERE, 3, 0.2))],
        NAMES,
        {NAMES[0]: 0.1, NAMES[1]: 0.1},
    )
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    left, right = np.array_split(picture, 2, axis=1)
    for half, colour in ((left, class_colour(0)), (right, class_colour(1))):
        assert (half == np.array(colour)).all(axis=2).sum() > 500
    assert (right == np.array(class_colour(0))).all(axis=2).sum() == 0
    assert pixels(tmp_path / "grid.png", class_colour(2)) == 0


def test_boxes_are_drawn_where_they_are_in_the_enlarged_picture(tmp_path: Path) -> None:
    plate = tmp_path / "plate.png"
    image = np.full((200, 200, 3), 90, np.uint8)
    image[20:80, 20:80] = (10, 10, 200)
    Image.fromarray(image).save(plate)
    save_prediction_grid(tmp_path / "grid.png", [sample((BOX, 0), path=plate)], [found()], NAMES, {})
    picture = np.asarray(Image.open(tmp_path / "grid.png")).astype(int)[:, : 420 + 20]
    blue = np.argwhere((abs(picture - (10, 10, 200)) < 12).all(axis=2))
    red = np.argwhere((picture == np.array(class_colour(0))).all(axis=2))
    assert blue.max(axis=0) == pytest.approx(red.max(axis=0), abs=6)


def test_grid_is_the_same_each_time(tmp_path: Path) -> None:
    plate = tmp_path / "plate.png"
    Image.new("RGB", (200, 120), (90, 90, 90)).save(plate)
    samples = [sample((BOX, i % 3), path=plate) for i in range(9)]
    guesses = [found((BOX, i % 4, 0.9)) for i in range(9)]
    for name in ("a.png", "b.png"):
        save_prediction_grid(tmp_path / name, samples, guesses, NAMES, {}, pictures=4)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_agreement_is_the_f1_of_the_boxes() -> None:
    both = sample((BOX, 0), (ELSEWHERE, 1))
    assert agreement(both, found((BOX, 1, 0.9), (ELSEWHERE, 2, 0.8)), NAMES) == 1
    assert agreement(both, found((BOX, 1, 0.9)), NAMES) == pytest.approx(2 / 3)
    assert agreement(both, found((BOX, 2, 0.9), (ELSEWHERE, 1, 0.8)), NAMES) == 0  # classes swapped
    assert agreement(both, found((BOX, 1, 0.9), (BOX, 1, 0.8)), NAMES) == pytest.approx(0.5)  # found twice, counts once
    assert agreement(sample(), found(), NAMES) == 1
    assert agreement(sample(), found((BOX, 1, 0.9)), NAMES) == 0


def test_choice_is_spread_over_classes_and_quality() -> None:
    """Of ten pictures per class, two bad ones: an equal share each, and a bad one only where its turn is."""
    samples = [sample((BOX, c)) for c in range(3) for _ in range(10)]
    guesses = [found((BOX, c + 1, 0.9)) if i >= 5 else found() for c in range(3) for i in range(10)]
    chosen = choose(samples, guesses, NAMES, pictures=6)
    assert [int(samples[i].classes[0]) for i in chosen] == [0, 0, 1, 1, 2, 2]
    scores = [agreement(samples[i], guesses[i], NAMES) for i in chosen]
    assert scores == [1, 0] * 3


def test_pictures_without_boxes_have_their_share() -> None:
    samples = [sample((BOX, 0))] * 5 + [sample()] * 5
    assert choose(samples, [found()] * 10, NAMES, pictures=2) == [2, 7]


@given(
    classes=st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=12),
    pictures=st.integers(1, 14),
)
def test_choice_repeats_nothing_and_covers_every_class(classes: list[list[int]], pictures: int) -> None:
    samples = [sample(*((BOX, c) for c in cs)) for cs in classes]
    chosen = choose(samples, [found()] * len(samples), NAMES, pictures)
    assert len(set(chosen)) == len(chosen) <= pictures
    assert set(chosen) <= set(range(len(samples)))
    present = {c for cs in classes for c in cs}
    if pictures >= 4:
        assert present == {c for i in chosen for c in classes[i]}
