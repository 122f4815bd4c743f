"""Pictures of nothing in particular, for want of photographs: dead leaves.

Random shapes with random colours and textures cover each other (Lee, Mumford & Huang 2001). Their sizes follow a power
law, as sizes in photographs do, so there are edges, corners, textures and occlusions at every scale. What a network
computes from them is varied enough to learn from (Baradad et al. 2021), and to hold on to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.sample import Sample

SHAPES = 220  # in a picture
_POWER = 1.2  # of the distribution of radii (Pareto)
_RADII = 0.015, 0.6  # smallest and largest, by the side of the picture

Colours = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Leaves(Sample):
    """A sample without file and without objects; the same for the same seed."""

    seed: int = 0

    def read(self) -> NDArray[np.uint8]:
        """The picture, (height, width, 3) uint8 RGB."""
        return dead_leaves(self.width, np.random.default_rng(self.seed))


def dead_leaves(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one picture.

    Args:
        size: side in pixels.
        rng: everything follows from it.

    Returns:
        (size, size, 3) uint8 RGB.

    Examples:
        >>> dead_leaves(64, np.random.default_rng(0)).shape
        (64, 64, 3)
    """
    image = np.empty((size, size, 3), np.uint8)
    palette = (rng.uniform(0, 255, (6, 1)) + rng.normal(0, 40, (6, 3))).astype(
        np.float32
    )  # photographs are mostly pale
    image[:] = palette[0].clip(0, 255)
    smallest, largest = _RADII
    for radius in ((rng.pareto(_POWER, SHAPES) + 1) * smallest).clip(smallest, largest) * size:
        outline = _outline(radius, rng) + rng.uniform(-size / 8, size * 9 / 8, 2)
        left, top = np.floor(outline.min(0)).astype(int).clip(0, size)
        right, bottom = np.ceil(outline.max(0)).astype(int).clip(0, size)
        if right <= left or bottom <= top:
            continue
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(mask, [np.round(outline - (left, top)).astype(np.int32)], 1)
        inside = mask.astype(bool)
        colour = palette[rng.integers(len(palette))] + rng.normal(0, 20, 3).astype(np.float32)
        image[top:bottom, left:right][inside] = _texture(mask.shape, colour, rng)[inside]
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)) if rng.random() < 0.5 else image  # type: ignore[return-value]


def _outline(radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points around (0, 0): an ellipse, or a ragged polygon of 3 to 8 corners, (n, 2) in pixels."""
    if rng.random() < 0.25:
        turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        points = np.stack([np.cos(turns), np.sin(turns) * rng.uniform(0.3, 1)], 1) * radius
        tilt = rng.uniform(0, np.pi)
        cos, sin = np.cos(tilt), np.sin(tilt)
        return points @ np.array([[cos, sin], [-sin, cos]])  # type: ignore[no-any-return]
    corners = int(rng.integers(3, 9))
    turns = np.sort(rng.uniform(0, 2 * np.pi, corners))
    return np.stack([np.cos(turns), np.sin(turns)], 1) * radius * rng.uniform(0.4, 1.2, (corners, 1))


def _texture(shape: tuple[int, ...], colour: Colours, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Flat, shaded, cloudy or striped, (height, width, 3)."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    kind = rng.integers(4)
    change: NDArray[Any] = np.zeros((1, 1, 1), np.float32)
    if kind == 1:
        slope = rng.normal(0, 1, 2) * rng.uniform(20, 90) / max(shape)
        change = (x * slope[0] + y * slope[1])[..., None]
    elif kind == 2:
        grain = int(rng.integers(1, 24))  # pixels
        coarse = rng.normal(0, rng.uniform(5, 50), (height // grain + 2, width // grain + 2)).astype(np.float32)
        change = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    elif kind == 3:
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 40)  # pixels
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
        change = wave[..., None] * rng.uniform(10, 60) * rng.uniform(0.3, 1, 3)
    return np.broadcast_to(colour + change, (height, width, 3)).clip(0, 255).astype(np.uint8)


def leaves(count: int, size: int, seed: int) -> list[Sample]:
    """So many samples of dead leaves.

    Args:
        count: how many.
        size: side in pixels.
        seed: another one gives others.
    """
    boxes, classes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    seeds = np.random.SeedSequence(seed).generate_state(count)
    return [Leaves(Path(f"leaves {i}"), size, size, boxes, classes, seed=int(s)) for i, s in enumerate(seeds)]
