"""Sound metal, as machines leave it: turned, milled, brushed, ground, rolled or cast."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vision_lora.rendering.noise import Array, fractal, grain, streaks
from vision_lora.rendering.relief import Relief

Shape = tuple[int, int]

# Reflectance of the metals, RGB, linear.
STEEL = (0.56, 0.57, 0.58)
ALUMINIUM = (0.72, 0.73, 0.74)
BRASS = (0.80, 0.66, 0.40)
COPPER = (0.72, 0.47, 0.34)
IRON = (0.36, 0.36, 0.37)
SCALE = (0.33, 0.34, 0.37)  # oxide on hot-rolled steel


def turned(rng: np.random.Generator, shape: Shape) -> Relief:
    """Face or shaft from a lathe: grooves in circles around a centre in or beside the picture."""
    height, width = shape
    reach = rng.uniform(0.15, 1.6) * max(shape)
    towards = rng.uniform(0, 2 * math.pi)
    x = np.arange(width) - width / 2 - reach * math.cos(towards)
    y = np.arange(height)[:, None] - height / 2 - reach * math.sin(towards)
    radius = np.sqrt(x * x + y * y)
    pitch = rng.uniform(3.5, 9.0)
    relief = pitch * rng.uniform(0.010, 0.03) * _grooves(rng, radius, pitch)
    relief += 0.05 * _rings(rng, radius) + 0.5 * fractal(rng, shape, 120, 2)
    relief += 0.025 * grain(rng, shape, 1.3)
    metal = _pick(rng, STEEL, ALUMINIUM, BRASS, STEEL)
    return _bare(rng, relief, metal, np.arctan2(x, -y), along=rng.uniform(0.10, 0.18), across=rng.uniform(0.35, 0.5))


def milled(rng: np.random.Generator, shape: Shape) -> Relief:
    """Face from a milling cutter: arcs side by side along the feed, in one or more passes."""
    height, width = shape
    angle = rng.uniform(0, 2 * math.pi)
    x = np.arange(width) - width / 2
    y = np.arange(height)[:, None] - height / 2
    feed_way = x * math.cos(angle) + y * math.sin(angle)
    beside = -x * math.sin(angle) + y * math.cos(angle) + rng.uniform(-0.3, 0.3) * width
    radius = rng.uniform(90, 320)
    pass_width = radius * rng.uniform(1.2, 1.6)
    number = np.floor(beside / pass_width + 0.5)
    beside = beside - number * pass_width  # from the middle of the pass, at most 0.8 radius
    depth = np.sqrt(np.maximum(radius**2 - beside**2, (0.3 * radius) ** 2))
    pitch = rng.uniform(5.0, 13.0)
    front = _grooves(rng, feed_way + depth + 37.0 * number + 5000, pitch)
    back = _grooves(rng, feed_way - depth + 37.0 * number + 5000, pitch)  # the cutter's trailing edge touches again
    relief = pitch * rng.uniform(0.010, 0.024) * (front + rng.uniform(0.0, 0.5) * back)
    relief += 0.06 * number % 0.1 + 0.5 * fractal(rng, shape, 130, 2) + 0.02 * grain(rng, shape, 1.2)
    lay = angle + np.arctan2(depth, beside) + math.pi
    metal = _pick(rng, ALUMINIUM, STEEL, ALUMINIUM, BRASS)
    return _bare(rng, relief, metal, lay, along=rng.uniform(0.14, 0.22), across=rng.uniform(0.35, 0.5))


def brushed(rng: np.random.Generator, shape: Shape) -> Relief:
    """Sheet with a brushed finish: long fine lines in one direction."""
    angle = rng.uniform(0, math.pi)
    relief = rng.uniform(0.05, 0.10) * streaks(rng, shape, angle, 1.0, rng.uniform(50, 120))
    relief += rng.uniform(0.04, 0.10) * streaks(rng, shape, angle, 2.2, rng.uniform(90, 260))
    relief += 0.7 * fractal(rng, shape, 140, 2)
    metal = _pick(rng, STEEL, ALUMINIUM, STEEL, COPPER, BRASS)
    piece = _bare(rng, relief, metal, np.full(shape, angle), along=rng.uniform(0.12, 0.2), across=rng.uniform(0.4, 0.6))
    piece.albedo[:] *= (1 + 0.035 * streaks(rng, shape, angle, 1.2, 150))[..., None]
    return piece


def ground(rng: np.random.Generator, shape: Shape) -> Relief:
    """Face from a grinding wheel: short fine lines, sometimes crossed."""
    angle = rng.uniform(0, math.pi)
    crossing = angle + rng.uniform(0.3, 1.2)
    relief = rng.uniform(0.05, 0.09) * streaks(rng, shape, angle, 1.1, rng.uniform(12, 35))
    relief += rng.choice([0.0, 0.05]) * streaks(rng, shape, crossing, 1.1, rng.uniform(12, 30))
    relief += 0.6 * fractal(rng, shape, 120, 2)
    metal = _pick(rng, STEEL, STEEL, ALUMINIUM)
    return _bare(rng, relief, metal, np.full(shape, angle), along=rng.uniform(0.2, 0.3), across=rng.uniform(0.35, 0.5))


def rolled(rng: np.random.Generator, shape: Shape, angle: float | None = None, *, hot: bool | None = None) -> Relief:
    """Strip from a rolling mill: cold-rolled, smooth with bands, or hot-rolled, under dark mottled oxide.

    Args:
        rng: source of chance.
        shape: height and width in pixels.
        angle: of rolling, radians; by default about along a side of the picture.
        hot: which of the two; by default either.
    """
    if angle is None:
        angle = float(rng.choice([0.0, math.pi / 2])) + rng.normal(0, 0.04)
    if hot is None:
        hot = rng.random() < 0.4
    relief = rng.uniform(0.03, 0.07) * streaks(rng, shape, angle, 2.5, 220)
    relief += rng.uniform(0.04, 0.09) * fractal(rng, shape, 5.0, 3, 0.6)  # orange peel
    relief += 1.0 * fractal(rng, shape, 160, 2) + 0.25 * streaks(rng, shape, angle, 30, 500)
    metal = SCALE if hot else _pick(rng, STEEL, ALUMINIUM, STEEL, COPPER)
    along, across = (0.4, 0.5) if hot else (rng.uniform(0.14, 0.22), rng.uniform(0.22, 0.34))
    piece = _bare(rng, relief, metal, np.full(shape, angle), along=along, across=across)
    bands = 0.05 * streaks(rng, shape, angle, rng.uniform(8, 30), 900) + 0.03 * streaks(rng, shape, angle, 2.0, 300)
    mottle = (0.075 if hot else 0.02) * fractal(rng, shape, 14, 4, 0.75)
    piece.albedo[:] *= np.exp(bands + mottle)[..., None]
    piece.gloss[:] *= 0.6 if hot else 1.0
    return piece


def cast(rng: np.random.Generator, shape: Shape) -> Relief:
    """Raw casting: bumps from the sand of the mould."""
    relief = rng.uniform(0.13, 0.26) * fractal(rng, shape, rng.uniform(4.0, 8.0), 4, 0.75)
    relief += 1.5 * fractal(rng, shape, 70, 2)
    piece = _bare(rng, relief, _pick(rng, IRON, ALUMINIUM, IRON), np.zeros(shape), along=0.55, across=0.55)
    piece.albedo[:] *= np.exp(0.07 * fractal(rng, shape, 9, 3))[..., None]
    piece.gloss[:] *= 0.5
    return piece


SURFACES: dict[str, Callable[[np.random.Generator, Shape], Relief]] = {
    "turned": turned,
    "milled": milled,
    "brushed": brushed,
    "ground": ground,
    "rolled": rolled,
    "cast": cast,
}


def _bare(
    rng: np.random.Generator, height: Array, metal: tuple[float, ...], lay: Array, *, along: float, across: float
) -> Relief:
    """A piece of one metal: no two batches have quite the same colour."""
    shape = height.shape
    colour = np.array(metal) * np.exp(rng.normal(0, 0.015, 3) + rng.normal(0, 0.06))
    albedo = np.broadcast_to(colour, (*shape, 3)) * np.exp(0.03 * fractal(rng, (shape[0], shape[1]), 80, 3))[..., None]
    return Relief(height, albedo, np.ones(shape), lay, float(along), float(across))


def _grooves(rng: np.random.Generator, way: Array, pitch: float) -> Array:
    """Height of a tool's grooves, one each `pitch` pixels of `way`; each cut a little otherwise than the last."""
    turn = way / pitch + 0.12 * np.interp(way, *_knots(rng, way, pitch * 4))
    cusp = np.abs(2 * (turn - np.floor(turn)) - 1) ** 2  # a round tool tip leaves parabolas that meet in ridges
    return np.asarray((cusp - 1 / 3) * (1 + 0.35 * np.interp(way, *_knots(rng, way, pitch * 2))) * 2)


def _rings(rng: np.random.Generator, way: Array) -> Array:
    """Fine random lines at constant `way`."""
    return np.asarray(np.interp(way, *_knots(rng, way, 1.2)))


def _knots(rng: np.random.Generator, way: Array, step: float) -> tuple[Array, Array]:
    places = np.arange(way.min(), way.max() + 2 * step, step)
    return places, rng.standard_normal(len(places))


def _pick(rng: np.random.Generator, *choices: tuple[float, ...]) -> tuple[float, ...]:
    return choices[int(rng.integers(len(choices)))]
