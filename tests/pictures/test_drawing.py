"""Drawing: what stands where, in which colour."""

import numpy as np
import pytest

from vision_lora.pictures.detections import Detections
from vision_lora.pictures.drawing import (
    Colour,
    Mark,
    Picture,
    class_colour,
    draw_detections,
    draw_marks,
    draw_truth,
    grid,
    text_height,
    text_width,
)

GREY = 90


def plate(height: int = 240, width: int = 320) -> Picture:
    return np.full((height, width, 3), GREY, np.uint8)


def painted(image: Picture, colour: Colour) -> int:
    """How many pixels have exactly this colour."""
    return int((image == np.array(colour)).all(axis=2).sum())


def found(classes: list[int], general: int = 1) -> Detections:
    n = len(classes)
    boxes = np.array([[20 + 90 * i, 60, 90 + 90 * i, 200] for i in range(n)], np.float32).reshape(-1, 4)
    names = ("person", "scratch", "dent")
    return Detections(boxes, np.linspace(0.9, 0.5, n, dtype=np.float32), np.array(classes, np.int64), names, general)


def test_picture_stays_as_it_was() -> None:
    image = plate()
    drawn = draw_detections(image, found([0, 1]))
    assert (image == GREY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_without_detections_the_picture_is_unchanged() -> None:
    assert (draw_detections(plate(), found([])) == plate()).all()


def test_line_runs_along_the_box_and_the_inside_stays_visible() -> None:
    drawn = draw_marks(plate(), [Mark((50, 60, 150, 180), "", (255, 0, 0))])
    for x, y in [(50, 120), (150, 120), (100, 60), (100, 180)]:
        assert drawn[y, x].tolist() == [255, 0, 0]
    assert (drawn[70:170, 60:140] == GREY).all()


def test_a_class_has_its_colour_whatever_the_general_vocabulary() -> None:
    with_general = draw_detections(plate(), found([1]))
    alone = Detections(*(getattr(found([0]), field) for field in ("boxes", "scores", "classes")), ("scratch",), 0)
    assert painted(with_general, class_colour(0)) > 0
    assert (draw_detections(plate(), alone) == with_general).all()


def test_ground_truth_has_the_colours_of_detections() -> None:
    both = found([1, 2])
    drawn = draw_truth(plate(), both.boxes, both.classes - 1, ("scratch", "dent"))
    assert painted(drawn, class_colour(0)) > 0
    assert painted(drawn, class_colour(1)) > 0


def test_general_and_defect_classes_look_different() -> None:
    assert not {class_colour(i) for i in range(20)} & {class_colour(i, general=True) for i in range(20)}
    defect = painted(draw_detections(plate(), found([1])), class_colour(0))
    general = painted(draw_detections(plate(), found([0])), class_colour(0, general=True))
    assert defect > 2 * general > 0  # thick line and filled label against thin line and coloured text


def test_best_score_lies_on_top() -> None:
    same = np.array([[20, 60, 90, 200]] * 2, np.float32)
    drawn = draw_detections(
        plate(), Detections(same, np.array([0.9, 0.4], np.float32), np.array([0, 1]), ("scratch", "dent"), 0)
    )
    assert drawn[130, 20].tolist() == list(class_colour(0))
    assert painted(drawn, class_colour(1)) < painted(drawn, class_colour(0)) / 10


@pytest.mark.parametrize("box", [(-40, -40, 400, 300), (300, 2, 318, 20), (0, 200, 30, 239)])
def test_label_stays_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    """The filled plate is found whole: as wide as its text and as tall as its letters."""
    colour = (255, 0, 0)
    drawn = draw_marks(plate(), [Mark(box, "scratches 0.87", colour)])
    bare = draw_marks(plate(), [Mark(box, "", colour)])
    ys, xs = np.nonzero((drawn != bare).any(axis=2))
    height = text_height(320)
    assert xs.max() - xs.min() >= text_width("scratches 0.87", height, weight=600)
    assert ys.max() - ys.min() >= height


def test_names_in_any_script_are_written() -> None:
    """Letters beyond ASCII must not all come out as the same question mark."""
    kratzer, olfleck = (draw_marks(plate(), [Mark((60, 60, 200, 200), text, (255, 0, 0))]) for text in ("划痕", "油污"))
    assert (kratzer != olfleck).any()


def test_lines_and_text_grow_with_the_picture() -> None:
    box = (0.25, 0.4, 0.75, 0.8)
    shares = []
    for side in (640, 2560):
        x1, y1, x2, y2 = (side * value for value in box)
        drawn = draw_marks(plate(side, side), [Mark((x1, y1, x2, y2), "dent", (255, 0, 0))])
        shares.append(painted(drawn, (255, 0, 0)) / side**2)
    assert shares[1] == pytest.approx(shares[0], rel=0.3)  # fixed sizes would shrink it to a quarter


def test_grid_places_pictures_in_reading_order_and_centres_smaller_ones() -> None:
    pictures = [
        np.full((10, 20, 3), 10, np.uint8),
        np.full((10, 20, 3), 20, np.uint8),
        np.full((4, 4, 3), 30, np.uint8),
    ]
    board = grid(pictures, columns=2, gap=2)
    assert board.shape == (26, 46, 3)
    assert board[2, 2, 0] == 10
    assert board[2, 24, 0] == 20
    assert (board[17:21, 10:14] == 30).all()
    assert painted(board, (30, 30, 30)) == 16


def test_grid_has_no_empty_column() -> None:
    assert grid([plate(10, 10)], columns=4, gap=0).shape == (10, 10, 3)


@pytest.mark.parametrize(("count", "columns"), [(0, 2), (1, 0)])
def test_grid_of_nothing_is_an_error(count: int, columns: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        grid([plate()] * count, columns)
