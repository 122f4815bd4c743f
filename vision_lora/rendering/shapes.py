"""Shapes of defects: distance from a line, blobs with ragged or smooth outlines, jagged paths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vision_lora.rendering.noise import Array

Shape = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Path:
    """A line with a width that changes along it.

    Args:
        points: x and y, pixels, (n, 2), n at least 2.
        widths: half width at each point, pixels, (n,).
    """

    points: Array
    widths: Array

    def moved(self, by: Array) -> Path:
        """The same line elsewhere."""
        return Path(self.points + by, self.widths)


@dataclass(frozen=True, eq=False)
class Distances:
    """A path as pixels see it: nearest distance in half widths, and where along the path that is, both (h, w).

    Where the path is further than a few half widths, `across` is infinite and `along` is 0.
    """

    across: Array
    along: Array


def frame(paths: list[Path], margin: float) -> tuple[list[Path], Shape]:
    """Move paths into the smallest picture that holds them with a margin; gives them and its height and width."""
    everything = np.concatenate([path.points for path in paths])
    low, high = everything.min(0) - margin, everything.max(0) + margin
    width, height = np.ceil(high - low).astype(int) + 1
    return [path.moved(-low) for path in paths], (int(height), int(width))


def distances(path: Path, shape: Shape, reach: float = 4.0) -> Distances:
    """Distance from a path, segment by segment, each in its own neighbourhood.

    Args:
        path: the line; it may leave the picture.
        shape: height and width of the picture.
        reach: how many half widths away pixels are still measured.
    """
    across, along = np.full(shape, np.inf), np.zeros(shape)
    steps = np.diff(path.points, axis=0)
    lengths = np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-9)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    for index, (step, length) in enumerate(zip(steps, lengths, strict=True)):
        first, last = path.points[index], path.points[index + 1]
        around = reach * max(path.widths[index], path.widths[index + 1]) + 1
        left, top = np.maximum(np.floor(np.minimum(first, last) - around), 0).astype(int)
        right, bottom = np.ceil(np.maximum(first, last) + around).astype(int) + 1
        window = (slice(top, max(min(bottom, shape[0]), top)), slice(left, max(min(right, shape[1]), left)))
        x = np.arange(window[1].start, window[1].stop) - first[0]
        y = np.arange(window[0].start, window[0].stop)[:, None] - first[1]
        share = np.clip((x * step[0] + y * step[1]) / length**2, 0, 1)
        far = np.hypot(x - share * step[0], y - share * step[1])
        far = far / ((1 - share) * path.widths[index] + share * path.widths[index + 1])
        nearer = far < across[window]
        across[window] = np.where(nearer, far, across[window])
        along[window] = np.where(nearer, (ends[index] + share * length) / ends[-1], along[window])
    across[across > reach] = np.inf
    return Distances(across, along)


def arc(rng: np.random.Generator, length: float, angle: float, bend: float) -> Array:
    """A nearly straight line, as a hard edge draws it: points (n, 2) from (0, 0), one each 4 pixels or so."""
    count = max(int(length / 4), 4)
    heading = angle + bend * np.linspace(-0.5, 0.5, count) + np.cumsum(rng.normal(0, 0.012, count))
    return _walk(heading, length / count)


def jagged(rng: np.random.Generator, length: float, angle: float, wildness: float) -> Array:
    """A line that breaks its own way, as cracks do: points (n, 2) from (0, 0), short steps of random direction."""
    count = max(int(length / 2.6), 6)
    turns = rng.normal(0, wildness, count)
    wander = np.convolve(rng.normal(0, 0.35, count), np.ones(5) / 5, "same")
    heading = angle + turns + np.cumsum(wander) * 0.3
    return _walk(heading, length / count)


def outline(rng: np.random.Generator, angles: Array, roughness: float, orders: int = 6) -> Array:
    """Radius of a random closed outline by angle, about 1: harmonics from the second on, the higher the weaker."""
    radius = np.ones_like(angles)
    for order in range(2, orders + 1):
        radius += roughness * rng.normal() / order * np.cos(order * angles + rng.uniform(0, 2 * math.pi))
    return np.asarray(np.maximum(radius, 0.35))


def ellipse(shape: Shape, middle: tuple[float, float], radii: tuple[float, float], angle: float) -> tuple[Array, Array]:
    """Polar coordinates in an ellipse's own measure: radius 1 on its line, and the angle; both (h, w)."""
    x = np.arange(shape[1]) - middle[0]
    y = np.arange(shape[0])[:, None] - middle[1]
    u = (x * math.cos(angle) + y * math.sin(angle)) / radii[0]
    v = (y * math.cos(angle) - x * math.sin(angle)) / radii[1]
    return np.hypot(u, v), np.arctan2(v, u)


def step(value: Array, low: float, high: float) -> Array:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _walk(heading: Array, step_length: float) -> Array:
    steps = step_length * np.stack([np.cos(heading), np.sin(heading)], 1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
