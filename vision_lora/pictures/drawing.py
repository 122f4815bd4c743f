"""Boxes with class and score on a picture, and pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.detections import Detections
from vision_lora.text.names import shown

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Vivid, for what an adapter learned: far apart from each other and from grey metal.
_DEFECTS: tuple[Colour, ...] = (
    (255, 82, 82),
    (255, 193, 7),
    (0, 230, 118),
    (64, 160, 255),
    (224, 64, 251),
    (0, 229, 255),
    (255, 128, 0),
    (198, 255, 0),
    (255, 105, 180),
    (149, 117, 255),
)
# Muted, for the base's own classes: there, but not what one looks for.
_GENERAL: tuple[Colour, ...] = (
    (176, 190, 197),
    (188, 170, 164),
    (159, 168, 218),
    (165, 214, 167),
    (206, 147, 216),
    (255, 224, 178),
)
_INK: Colour = (18, 18, 18)
_PAPER: Colour = (255, 255, 255)
_LABEL_WEIGHT = 600  # semibold, on OpenCV's scale of 100 to 1000


@dataclass(frozen=True)
class Mark:
    """One box to draw.

    Args:
        box: corners x1, y1, x2, y2 in pixels.
        caption: text of its label, any script; empty for none.
        colour: RGB, 0 to 255.
        strong: a thick line and a filled label; otherwise a thin line and coloured text on a dark label.
    """

    box: tuple[float, float, float, float]
    caption: str
    colour: Colour
    strong: bool = True


def class_colour(index: int, *, general: bool = False) -> Colour:
    """Colour of a class, the same in every picture.

    Args:
        index: the class's place in its own vocabulary.
        general: it is one of the base's own classes: muted instead of vivid.
    """
    palette = _GENERAL if general else _DEFECTS
    return palette[index % len(palette)]


def draw_detections(image: Picture, found: Detections) -> Picture:
    """A copy of the picture with each detection's box, class and score.

    Defects are vivid with filled labels; the base's own classes are thin and muted. The best score lies on top.

    Args:
        image: (height, width, 3) uint8 RGB.
        found: detections in pixels of `image`.

    Examples:
        >>> box = np.array([[8, 24, 56, 60]], "f4")
        >>> found = Detections(box, np.array([0.9], "f4"), np.array([0]), ("scratch",), general=0)
        >>> image = np.zeros((64, 64, 3), np.uint8)
        >>> draw_detections(image, found)[60, 30].tolist()
        [255, 82, 82]
    """
    marks = []
    for i in np.argsort(found.scores, kind="stable"):
        general = found.source(i) == "general"
        index = int(found.classes[i]) - (0 if general else found.general)
        colour = class_colour(index, general=general)
        marks.append(Mark(_corners(found.boxes[i]), f"{found.name(i)} {found.scores[i]:.2f}", colour, not general))
    return draw_marks(image, marks)


def draw_truth(image: Picture, boxes: NDArray[np.float32], classes: NDArray[np.int64], names: Sequence[str]) -> Picture:
    """A copy of the picture with ground-truth boxes and class names, coloured as detections of an adapter's classes.

    Args:
        image: (height, width, 3) uint8 RGB.
        boxes: corners in pixels of `image`, (n, 4).
        classes: index into `names`, (n,).
        names: class names of the dataset.
    """
    return draw_marks(
        image, [Mark(_corners(box), names[c], class_colour(int(c))) for box, c in zip(boxes, classes, strict=True)]
    )


def draw_marks(image: Picture, marks: Sequence[Mark]) -> Picture:
    """A copy of the picture with boxes and their labels, the last on top; lines and text grow with the picture.

    Args:
        image: (height, width, 3) uint8 RGB.
        marks: what to draw, in pixels of `image`.
    """
    canvas = image.copy()
    side = max(image.shape[:2])
    line = max(2, round(side / 200))
    for mark in marks:
        width = line if mark.strong else max(1, line * 2 // 3)
        x1, y1, x2, y2 = map(round, mark.box)
        # A dark rim keeps the line visible on bright metal.
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _INK, width + 2)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), mark.colour, width)
    for mark in marks:  # after all boxes, so that no line crosses a label
        if mark.caption:
            _label(canvas, mark, text_height(side), line)
    return canvas


def text_height(side: int) -> int:
    """Height of legible text in pixels for a picture whose longer side has so many."""
    return max(12, round(side / 40))


def write(canvas: Picture, text: str, left: int, baseline: int, height: int, colour: Colour, *, weight: int) -> None:
    """Write one line of text, any script, onto a picture in place.

    Args:
        canvas: (height, width, 3) uint8.
        text: what to write.
        left: x of its first letter, pixels.
        baseline: y of the line it stands on, pixels.
        height: of the letters, pixels.
        colour: RGB, 0 to 255.
        weight: 400 is regular, 700 bold.
    """
    # What is no UTF-8 would end the process.
    # OpenCV's own TrueType fonts: its older Hershey fonts print "?" for every letter beyond ASCII.
    cv2.putText(canvas, shown(text), (left, baseline), colour, cv2.FontFace("sans"), height, weight)


def text_width(text: str, height: int, *, weight: int) -> int:
    """Width in pixels that `write` needs."""
    _, _, width, _ = cv2.getTextSize((0, 0), shown(text), (0, 0), cv2.FontFace("sans"), height, weight)
    return width


def grid(pictures: Sequence[Picture], columns: int, *, gap: int = 8) -> Picture:
    """Pictures in rows, each in the middle of a cell as large as the largest picture.

    Args:
        pictures: (height, width, 3) uint8 each, sizes may differ.
        columns: pictures in a row.
        gap: white space between and around the cells, pixels.

    Returns:
        One picture, (rows * (cell height + gap) + gap, columns * (cell width + gap) + gap, 3) uint8.

    Raises:
        ValueError: there is no picture or no column.

    Examples:
        >>> grid([np.zeros((10, 20, 3), np.uint8)] * 3, columns=2, gap=1).shape
        (23, 43, 3)
    """
    if not pictures or columns < 1:
        raise ValueError(f"{len(pictures)} pictures in {columns} columns: expected at least one of each")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), _PAPER, np.uint8)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        top = gap + row * (height + gap) + (height - picture.shape[0]) // 2
        left = gap + column * (width + gap) + (width - picture.shape[1]) // 2
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _label(canvas: Picture, mark: Mark, height: int, line: int) -> None:
    """Write a mark's caption on a plate above its box; inside, where there is no room above."""
    pad = max(2, height // 4)
    wide = text_width(mark.caption, height, weight=_LABEL_WEIGHT) + 2 * pad
    tall = height + 2 * pad
    x1, y1 = round(mark.box[0]) - line // 2, round(mark.box[1]) - line // 2
    left = max(0, min(x1, canvas.shape[1] - wide))
    top = y1 - tall if y1 >= tall else max(0, y1)
    plate, ink = (mark.colour, _readable_on(mark.colour)) if mark.strong else (_INK, mark.colour)
    cv2.rectangle(canvas, (left, top), (left + wide - 1, top + tall - 1), plate, cv2.FILLED)
    # The baseline that puts letters without descenders in the middle of the plate.
    write(canvas, mark.caption, left + pad, top + pad + round(0.88 * height), height, ink, weight=_LABEL_WEIGHT)


def _readable_on(colour: Colour) -> Colour:
    """Dark or white, whichever contrasts more (ITU-R BT.601 luma)."""
    red, green, blue = colour
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else _PAPER


def _corners(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
