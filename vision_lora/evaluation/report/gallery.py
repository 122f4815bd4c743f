"""Mistakes as pictures: a crop with the truth beside the same crop with what was detected."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import DataError
from vision_lora.evaluation.scoring.mistakes import Mistake
from vision_lora.evaluation.scoring.outcomes import Floats, Outcomes
from vision_lora.pictures.drawing import Colour, Mark, Picture, draw_marks
from vision_lora.pictures.images import encode_picture
from vision_lora.text.page import jpeg

SHOWN = 48  # mistakes on a page: enough to judge by, small enough to mail
STYLE = """
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 14px }
.gallery img { width: 50%; height: auto; display: inline-block; vertical-align: top }
.gallery figcaption { font-size: .82rem; overflow-wrap: anywhere; margin-top: 6px }
"""
_SIDE = 240  # pixels of a crop on the page
_MARGIN = 0.6  # what is shown around the boxes, as a share of their longer side
_LEAST = 64  # pixels of the picture that a crop shows at least
_TRUTH: Colour = (0, 230, 118)
_FOUND: Colour = (255, 193, 7)


def gallery(outcomes: Outcomes, mistakes: Sequence[Mistake], folder: Path, limits: Floats) -> Iterator[str]:
    """The first mistakes as HTML.

    Args:
        outcomes: what they are of.
        mistakes: in the order to show them.
        folder: of the page, from which the pictures are linked.
        limits: lowest score that is drawn, by class, (classes,).
    """
    yield '<p class="note">left: the label (green); right: what was detected (yellow)</p><div class="gallery">'
    frames: dict[int, Picture | None] = {}
    for mistake in mistakes[:SHOWN]:
        if mistake.picture not in frames:
            frames[mistake.picture] = _read(outcomes, mistake.picture)
        path, caption = outcomes.samples[mistake.picture].path, html.escape(in_words(outcomes, mistake))
        crops = (
            _crops(outcomes, mistake, frames[mistake.picture], limits) if frames[mistake.picture] is not None else ""
        )
        link = f'<a href="{html.escape(_address(path, folder))}">{html.escape(path.name)}</a>'
        yield f"<figure>{crops}<figcaption><strong>{caption}</strong><br>{link}</figcaption></figure>"
    yield "</div>"


def in_words(outcomes: Outcomes, mistake: Mistake) -> str:
    """What the label says and what was detected, in a line."""
    label = "" if mistake.box is None else outcomes.names[outcomes.true_classes[mistake.box]]
    found = ""
    if mistake.detection is not None:
        name, score = outcomes.names[outcomes.classes[mistake.detection]], outcomes.scores[mistake.detection]
        found = f"{name} {score:.2f}"
    told = {
        "missed": f"missed: {label}",
        "false alarm": f"no label: {found}",
        "wrong class": f"wrong class: {label}, detected as {found}",
        "badly placed": f"badly placed: {label}, detected {found}",
    }[mistake.kind]
    return f"{told} (label doubted {mistake.suspicion:.0%})"


def _read(outcomes: Outcomes, picture: int) -> Picture | None:
    try:
        return outcomes.samples[picture].read()
    except DataError:  # gone since it was detected in
        return None


def _crops(outcomes: Outcomes, mistake: Mistake, frame: Picture | None, limits: Floats) -> str:
    assert frame is not None
    boxes = [] if mistake.box is None else [outcomes.true_boxes[mistake.box]]
    boxes += [] if mistake.detection is None else [outcomes.boxes[mistake.detection]]
    window = _window(np.array(boxes), frame.shape[1], frame.shape[0])
    truth = outcomes.true_by_picture[mistake.picture]
    found = outcomes.by_picture[mistake.picture]
    found = found[outcomes.scores[found] >= limits[outcomes.classes[found]]]
    true_marks = [(outcomes.true_boxes[i], outcomes.names[outcomes.true_classes[i]]) for i in truth]
    marks = [(outcomes.boxes[i], f"{outcomes.names[outcomes.classes[i]]} {outcomes.scores[i]:.2f}") for i in found]
    return _crop(frame, window, true_marks, _TRUTH, "label") + _crop(frame, window, marks, _FOUND, "detected")


def _window(boxes: Floats, width: int, height: int) -> tuple[int, int, int, int]:
    """A square around boxes, as far as the picture reaches: x1, y1, x2, y2."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    side = max(float((high - low).max()) * (1 + _MARGIN), _LEAST)
    side = min(side, width, height) if side < max(width, height) else max(width, height)
    start = (low + high - side) / 2
    x1, y1 = (int(max(0, min(at, size - side))) for at, size in zip(start, (width, height), strict=True))
    return x1, y1, min(width, x1 + round(side)), min(height, y1 + round(side))


def _crop(
    frame: Picture,
    window: tuple[int, int, int, int],
    boxes: Sequence[tuple[NDArray[np.float64], str]],
    colour: Colour,
    alt: str,
) -> str:
    x1, y1, x2, y2 = window
    scale = _SIDE / max(x2 - x1, y2 - y1)
    size = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    small: Picture = np.asarray(cv2.resize(frame[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA), np.uint8)
    marks = []
    for box, caption in boxes:
        left, top, right, bottom = ((box - (x1, y1, x1, y1)) * scale).tolist()
        if right > 0 and bottom > 0 and left < size[0] and top < size[1]:
            marks.append(Mark((left, top, right, bottom), caption, colour))
    return jpeg(encode_picture(draw_marks(small, marks), ".jpg", quality=80), size, alt)


def _address(path: Path, folder: Path) -> str:
    """A link from the page's folder to a picture that works wherever both are moved together."""
    return quote(os.fsencode(os.path.relpath(path.absolute(), folder.absolute())).replace(os.sep.encode(), b"/"))
