"""What is no defect but may look like one: tool marks, lint, dust, oil film, engraved numbers, bores."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from vision_lora.rendering.defects import Mark, tint
from vision_lora.rendering.noise import Array, fractal
from vision_lora.rendering.relief import Relief
from vision_lora.rendering.shapes import Path, distances, ellipse, step

# A mark of the whole picture's size, and whether defects keep off it.
Lookalike = tuple[Mark, bool]


def tool_mark(rng: np.random.Generator, piece: Relief) -> Lookalike:
    """A deeper groove along the machining marks, from one side of the picture to the other: a chipped tool."""
    if piece.along == piece.across:
        return dust(rng, piece)  # a raw casting has seen no tool
    shape = piece.height.shape
    side = max(shape)
    start = rng.uniform(0.15, 0.85, 2) * (shape[1], shape[0])
    halves = [_follow(piece.lay, start, way) for way in (1, -1)]
    points = np.concatenate([halves[1][:0:-1], halves[0]])
    if len(points) < 2:
        return _nothing(shape), False
    groove = np.zeros(shape)
    for shift in rng.uniform(3, 8) * np.arange(int(rng.choice([1, 2, 3]))):
        path = Path(points + shift * _beside(points), np.full(len(points), rng.uniform(0.8, 1.4)))
        d = distances(path, (shape[0], shape[1])).across
        groove = np.minimum(groove, 0.35 * np.exp(-(((d - 1.9) / 0.8) ** 2)) - np.exp(-(d**2)))
    depth = rng.uniform(0.3, 0.9) * (0.8 + 0.2 * fractal(rng, (shape[0], shape[1]), side / 4, 2))
    return _mark(depth * groove, tint(0.25 * np.minimum(groove, 0))), False


def lint(rng: np.random.Generator, piece: Relief) -> Lookalike:
    """A fibre or two of cloth that lie on the piece: curled, of even width, with a soft shadow."""
    shape = (piece.height.shape[0], piece.height.shape[1])
    paint = np.zeros(shape)
    for _ in range(int(rng.integers(1, 3))):
        count = int(rng.integers(14, 34))
        heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0.09 * rng.choice([-1, 1]), 0.18, count))
        steps = 2.5 * np.stack([np.cos(heading), np.sin(heading)], 1)
        points = rng.uniform(0.1, 0.9, 2) * (shape[1], shape[0]) + np.cumsum(steps, 0)
        points = np.clip(points, -20, max(shape) + 20)
        fibre = distances(Path(points, np.full(count, 0.7)), shape).across
        shadow = distances(Path(points + rng.uniform(1.5, 3, 2), np.full(count, 1.6)), shape).across
        paint += rng.uniform(0.35, 0.8) * np.exp(-(fibre**2)) - 0.22 * np.exp(-(shadow**2))
    return _mark(np.zeros(shape), tint(paint)), True


def dust(rng: np.random.Generator, piece: Relief) -> Lookalike:
    """Specks strewn over the picture, each a pixel or two."""
    shape = (piece.height.shape[0], piece.height.shape[1])
    specks = np.zeros(shape)
    count = int(rng.integers(15, 60))
    specks[rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)] = rng.uniform(0.5, 2.5, count)
    specks = np.asarray(cv2.GaussianBlur(specks, (0, 0), rng.uniform(0.5, 0.9)), np.float64)
    return _mark(np.zeros(shape), tint(rng.choice([1.0, -1.2]) * np.minimum(specks, 0.8))), False


def oil_film(rng: np.random.Generator, piece: Relief) -> Lookalike:
    """A thin film over much of the picture: edges without a place, a breath of colour where it thins out."""
    shape = (piece.height.shape[0], piece.height.shape[1])
    thick = fractal(rng, shape, max(shape) * 0.6, 3, 0.4) + rng.uniform(-0.2, 0.6)
    wet = step(thick, -0.9, 0.9)
    phases = 5.0 * thick[..., None] + np.array([0.0, 0.8, 1.7])
    paint = -0.35 * wet[..., None] * np.array([0.8, 0.9, 1.1]) + 0.06 * (wet * (1 - wet))[..., None] * np.sin(phases)
    return _mark(np.zeros(shape), paint, 0.35 * wet), False


def number(rng: np.random.Generator, piece: Relief) -> Lookalike:
    """A part number that a laser or a needle engraved."""
    shape = (piece.height.shape[0], piece.height.shape[1])
    text = "".join(rng.choice(list("ABCDEFHKLMNPRSTVXZ"), 1)) + "".join(rng.choice(list("0123456789"), 4))
    text = text[:2] + rng.choice(["-", " ", "/"]) + text[2:]
    size = rng.uniform(0.45, 0.8)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    drawn = np.zeros(shape, np.uint8)
    left = int(rng.integers(4, max(shape[1] - width - 4, 5)))
    base = int(rng.integers(height + 4, max(shape[0] - 8, height + 5)))
    cv2.putText(drawn, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_8)
    if rng.random() < 0.4:  # dots of a needle
        drawn[::2] = 0
        drawn[:, ::2] = 0
        drawn = np.asarray(cv2.dilate(drawn, np.ones((2, 2), np.uint8)), np.uint8)
    cut = np.asarray(cv2.GaussianBlur(drawn / 255.0, (0, 0), 0.6), np.float64)
    return _mark(-0.5 * cut, tint(rng.choice([0.5, -0.9]) * cut), -0.8 * cut), True


def bore(rng: np.random.Generator, piece: Relief) -> Lookalike:
    """A drilled hole with a chamfer: black, perfectly round."""
    shape = (piece.height.shape[0], piece.height.shape[1])
    radius = rng.uniform(9, 30)
    middle = rng.uniform(0.12, 0.88, 2) * (shape[1], shape[0])
    r, _ = ellipse(shape, (middle[0], middle[1]), (1.0, 1.0), 0.0)
    bevel = rng.uniform(2.0, 5.0)
    cone = 0.7 * np.clip(radius + bevel - r, 0, bevel)
    dark = 1 - step(r, radius - 0.8, radius + 0.8)
    return _mark(-cone, tint(-2.6 * dark), -4.0 * dark, cover=1 - step(r, radius + bevel, radius + bevel + 1.5)), True


LOOKALIKES: tuple[Callable[[np.random.Generator, Relief], Lookalike], ...] = (
    tool_mark,
    lint,
    dust,
    oil_film,
    number,
    bore,
)


def _mark(height: Array, paint: Array, gloss: Array | None = None, cover: Array | None = None) -> Mark:
    nothing = np.zeros(height.shape)
    core = (np.abs(height) > 0.05) | (np.abs(paint).max(2) > 0.1)
    return Mark(height, paint, nothing if gloss is None else gloss, nothing if cover is None else cover, core, (1, 1))


def _nothing(shape: tuple[int, ...]) -> Mark:
    return _mark(np.zeros(shape), np.zeros((*shape, 3)))


def _follow(lay: Array, start: Array, way: int) -> Array:
    """Walk along the machining marks until outside the picture: x and y, (n, 2)."""
    points, point = [start], start
    heading = np.zeros(2)
    for _ in range(200):
        row, column = int(point[1]), int(point[0])
        if not (0 <= row < lay.shape[0] and 0 <= column < lay.shape[1]):
            break
        direction = np.array([math.cos(lay[row, column]), math.sin(lay[row, column])])
        turn = float(direction @ heading) if heading.any() else float(way)
        if abs(turn) < 0.5:  # another pass of the tool begins here
            break
        heading = math.copysign(1, turn) * direction
        point = point + 5 * heading
        points.append(point)
    return np.stack(points)


def _beside(points: Array) -> Array:
    """Unit vector across the path at each point, (n, 2)."""
    steps = np.gradient(points, axis=0)
    return np.asarray(np.stack([-steps[:, 1], steps[:, 0]], 1) / np.hypot(steps[:, 0], steps[:, 1])[:, None])
