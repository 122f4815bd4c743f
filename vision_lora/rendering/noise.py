"""Random textures: grain of a given size, sums of several sizes, and streaks in a direction."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def grain(rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float]) -> Array:
    """Smooth noise of mean 0 and deviation about 1.

    White noise, blurred on a grid of half a feature and enlarged from there: the blur hides the grid.

    Args:
        rng: source of chance.
        shape: height and width in pixels.
        cell: size of a feature in pixels, 1 for white noise; a pair is (height, width).

    Returns:
        The noise, of `shape`.
    """
    cells = cell if isinstance(cell, tuple) else (cell, cell)
    steps = [max(size / 2, 1.0) for size in cells]
    spreads = [size / 2 / step if size > 1 else 0.0 for size, step in zip(cells, steps, strict=True)]  # grid points
    rows, columns = (math.ceil(side / step) + 8 for side, step in zip(shape, steps, strict=True))
    noise = rng.standard_normal((rows, columns))
    reach = [2 * math.ceil(3 * spread) + 1 for spread in spreads]
    noise = np.asarray(cv2.GaussianBlur(noise, reach[::-1], sigmaX=spreads[1] or 1, sigmaY=spreads[0] or 1), np.float64)
    for spread in spreads:
        if spread:
            noise *= math.sqrt(2 * math.sqrt(math.pi) * spread)  # what the blur takes from white noise
    top, left = (int(rng.integers(1, 2 + int(3 * step))) for step in steps)
    if max(steps) > 1:
        size = (math.ceil(columns * steps[1]), math.ceil(rows * steps[0]))
        noise = np.asarray(cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC), np.float64)
    return noise[top : top + shape[0], left : left + shape[1]]


def fractal(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int, gain: float = 0.5) -> Array:
    """Noise of several sizes, each half as large as the one before and `gain` times as strong; deviation about 1."""
    layers = [gain**octave * grain(rng, shape, cell / 2**octave) for octave in range(octaves)]
    return np.asarray(sum(layers), np.float64) / math.sqrt(sum(gain ** (2 * octave) for octave in range(octaves)))


def streaks(rng: np.random.Generator, shape: tuple[int, int], angle: float, width: float, length: float) -> Array:
    """Noise drawn out in a direction, as brushing and rolling leave it.

    Args:
        rng: source of chance.
        shape: height and width in pixels.
        angle: direction of the streaks, radians, x axis towards y axis (down).
        width: of a streak, pixels.
        length: of a streak, pixels.

    Returns:
        The noise, of `shape`, deviation about 1.
    """
    if angle == 0:
        return grain(rng, shape, (width, length))
    height, wide = shape
    side = math.ceil(math.hypot(height, wide)) + 2
    lying = grain(rng, (side, side), (width, length))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -math.degrees(angle), 1.0)
    turn[:, 2] += np.array([(wide - side) / 2, (height - side) / 2])
    turned = cv2.warpAffine(lying, turn, (wide, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, np.float64)
