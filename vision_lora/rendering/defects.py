"""What goes wrong with metal: scratches, dents, stains, pits, inclusions and cracks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_lora.rendering.noise import Array, fractal, grain
from vision_lora.rendering.relief import Relief
from vision_lora.rendering.shapes import Path, arc, distances, ellipse, frame, jagged, outline, step


@dataclass(frozen=True, eq=False)
class Mark:
    """A change of a piece of metal, at strength 1.

    Args:
        height: added to the height, pixels, (h, w).
        paint: added to the logarithm of the albedo, RGB, (h, w, 3).
        gloss: added to the logarithm of the gloss, (h, w).
        cover: share of the metal's own texture that is buried, 0 to 1, (h, w).
        core: where the defect is, for certain, (h, w).
        strengths: the weakest and the strongest that still look like one.
    """

    height: Array
    paint: Array
    gloss: Array
    cover: Array
    core: NDArray[np.bool_]
    strengths: tuple[float, float]

    def on(self, relief: Relief, strength: float) -> Relief:
        """The piece with the mark on it; the relief has the mark's size and is left as it is."""
        flat = relief.height - self.cover * (relief.height - relief.height.mean())
        return Relief(
            flat + strength * self.height,
            relief.albedo * np.exp(strength * self.paint),
            relief.gloss * np.exp(strength * self.gloss),
            relief.lay,
            relief.along,
            relief.across,
        )


def scratch(rng: np.random.Generator, lay: float) -> Mark:
    """A groove with ridges beside it, from something hard that slid over the piece; sometimes two or three."""
    length = float(np.clip(rng.lognormal(4.55, 0.45), 40, 260))
    angle = lay + rng.uniform(0.25, math.pi - 0.25)  # one along the machining marks would be one of them
    bend = rng.normal(0, 0.25)
    paths = []
    for strand in range(int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))):
        points = arc(rng, length * (1 if strand == 0 else rng.uniform(0.35, 0.9)), angle, bend)
        if strand:
            points = points + rng.uniform(4, 9) * strand * np.array([-math.sin(angle), math.cos(angle)])
            points = points + rng.uniform(0, 0.4) * length * np.array([math.cos(angle), math.sin(angle)])
        t = np.linspace(0, 1, len(points))
        widths = rng.uniform(0.65, 1.35) * (0.55 + 0.45 * np.sin(math.pi * t) ** 0.5)
        paths.append(Path(points, widths * (1 + 0.15 * rng.standard_normal(len(points)).clip(-2, 2))))
    paths, shape = frame(paths, 8)
    height, shine, core = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    for path in paths:
        seen = distances(path, shape)
        d, t = seen.across, seen.along
        knots = rng.uniform(0.35, 1.25, 12)
        deep = np.interp(t, np.linspace(0, 1, 12), knots) * np.clip(np.minimum(t, 1 - t) * 9, 0.15, 1)
        groove = np.exp(-(d**2))
        ridge = 0.35 * np.exp(-(((d - 1.9) / 0.8) ** 2))
        height += deep * (ridge - groove)
        shine = np.maximum(shine, deep * groove)
        core |= d < 1.0
    bright = rng.uniform(-0.5, 0.35)  # dirt in the groove, or bare metal
    return Mark(height, tint(bright * shine), -0.3 * shine, np.zeros(shape), core, (0.25, 2.2))


def dent(rng: np.random.Generator, lay: float) -> Mark:
    """A smooth hollow from a blow, with a low rim: seen by the light on its sides alone."""
    radius = float(np.clip(rng.lognormal(2.85, 0.35), 9, 42))
    radii = (radius, radius * rng.uniform(0.55, 1.0))
    side = math.ceil(3.6 * radius) + 4
    r, angles = ellipse((side, side), (side / 2, side / 2), radii, lay + rng.uniform(0, math.pi))
    # Out of round at the rim only: at the middle it would crease the bowl like a cut gem.
    r = r / (1 + (outline(rng, angles, 0.14, orders=3) - 1) * np.minimum(r, 1) ** 2)
    bowl = -(np.clip(1 - r**2, 0, 1) ** 1.6)
    rim = rng.uniform(0.04, 0.16) * np.exp(-(((r - 1.1) / 0.16) ** 2))
    height = radius * 0.5 * (bowl + rim)
    rubbed = -0.25 * np.clip(1 - r, 0, 1) ** 0.5
    return Mark(height, tint(0.3 * rubbed), rubbed, np.zeros(r.shape), r < 1.12, (0.06, 0.75))


def stain(rng: np.random.Generator, lay: float) -> Mark:
    """Colour without height: rust, dried water, oil or coolant."""
    radius = float(np.clip(rng.lognormal(3.15, 0.4), 11, 60))
    radii = (radius, radius * rng.uniform(0.45, 1.0))
    side = math.ceil(4.6 * radius) + 6
    r, angles = ellipse((side, side), (side / 2, side / 2), radii, lay + rng.uniform(-0.5, 0.5))
    kind = rng.choice(["rust", "water", "oil", "coolant"])
    ragged = {"rust": 0.24, "water": 0.03, "oil": 0.045, "coolant": 0.035}[kind]
    r = r / outline(rng, angles, 0.3) + ragged * fractal(rng, (side, side), radius * 0.5, 4, 0.55)
    soft = {"rust": 0.25, "water": 0.08, "oil": 0.16, "coolant": 0.12}[kind]
    inside = 1 - step(r, 1 - soft, 1 + soft)
    # Drying carries what was dissolved to the edge, more of it here than there.
    rim = (
        inside
        * np.exp(-np.clip(1 - r, 0, 1) / 0.1)
        * (0.6 + 0.25 * grain(rng, (side, side), radius * 0.7)).clip(0.15, 1)
    )
    if kind == "rust":
        body = inside * (0.75 + 0.3 * fractal(rng, (side, side), 6, 3))
        colour, matte = (-0.35, -0.8, -1.35), -1.6
    elif kind == "water":
        body = 0.3 * inside + 0.9 * rim
        colour, matte = (-0.55, -0.5, -0.45), -0.8
    elif kind == "oil":
        body = inside * (0.85 + 0.15 * (1 - r))
        colour, matte = (-0.7, -0.85, -1.1), -0.35
    else:
        body = 0.55 * inside + 0.55 * rim
        colour, matte = (-0.75, -0.58, -0.52), -0.9
    body = np.maximum(body, 0)
    return Mark(
        np.zeros((side, side)),
        body[..., None] * np.array(colour),
        matte * np.clip(body, 0, 1),
        np.zeros((side, side)),
        inside > 0.5,
        (0.3, 1.3),
    )


def pit(rng: np.random.Generator, lay: float) -> Mark:
    """A nest of small holes that corrosion ate, or that gas left."""
    spread = float(np.clip(rng.lognormal(2.5, 0.4), 6, 32))
    count = int(np.clip(rng.poisson(2 + spread * 0.45), 3, 22))
    side = math.ceil(4 * spread) + 20
    shape = (side, side)
    height, dark, core = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    for _ in range(count):
        radius = float(np.clip(rng.lognormal(0.75, 0.35), 1.1, 5.0))
        middle = side / 2 + np.clip(rng.normal(0, 0.62, 2), -1.4, 1.4) * spread
        r, angles = ellipse(shape, (middle[0], middle[1]), (radius, radius * rng.uniform(0.7, 1)), lay)
        near = r < 4
        r = r / outline(rng, angles, 0.25)
        height -= near * radius * 0.75 * np.exp(-(r**4))
        dark = np.maximum(dark, near * np.exp(-((r / 0.95) ** 4)))
        core |= r < 1.0
    rough = 1 + 0.2 * grain(rng, shape, 1.5)
    return Mark(height * rough, tint(-0.8 * dark), -1.2 * dark, 0.5 * dark, core, (0.25, 1.6))


def inclusion(rng: np.random.Generator, lay: float) -> Mark:
    """Slag or oxide in the metal, drawn out by rolling: ragged, matte, with sharp edges, often in several bits."""
    length = float(np.clip(rng.lognormal(3.6, 0.4), 18, 120))
    thick = float(np.clip(rng.lognormal(1.1, 0.3), 1.8, 6.0))
    angle = lay + rng.normal(0, 0.12)
    way = np.array([math.cos(angle), math.sin(angle)])
    bits = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))
    paths = []
    for start in np.linspace(0, length, bits + 1)[:-1] + rng.normal(0, 1, bits):
        own = max(length / bits * rng.uniform(0.6, 0.95), 3.5 * thick)
        points = start * way + jagged(rng, own, angle, 0.15) + rng.normal(0, thick * 0.5, 2)
        t = np.linspace(0, 1, len(points))
        bulge = np.sin(math.pi * np.clip(t, 0.03, 0.97)) ** rng.uniform(0.35, 0.9)
        paths.append(Path(points, np.maximum(thick * bulge * rng.uniform(0.6, 1.3, len(points)), 0.6)))
    paths, shape = frame(paths, 4 * thick)
    d = np.minimum.reduce([distances(path, shape, reach=2.5).across for path in paths])
    d = np.minimum(d, 3) + 0.16 * grain(rng, shape, 2.5)
    body = 1 - step(d, 0.75, 1.1)
    texture = grain(rng, shape, 1.6)
    dark = rng.uniform(-1.5, -0.7) if rng.random() < 0.85 else 0.45
    return Mark(
        body * 0.18 * texture + 0.3 * body * rng.choice([-1, 1]),
        tint(dark * body * (1 + 0.22 * texture)),
        -2.5 * body,
        0.8 * body,
        body > 0.5,
        (0.3, 1.35),
    )


def crack(rng: np.random.Generator, lay: float) -> Mark:
    """A fracture: thin, dark, jagged, thinning out to its tips, with branches."""
    length = float(np.clip(rng.lognormal(4.1, 0.4), 28, 170))
    angle = lay + rng.uniform(0, math.pi)
    widest = rng.uniform(0.65, 1.25)
    paths = [_branch(rng, np.zeros(2), length, angle, widest)]
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.15, 0.25, 0.3, 0.2, 0.1]))):
        parent = paths[int(rng.integers(len(paths)))]
        root = int(rng.integers(len(parent.points) // 5, max(len(parent.points) * 4 // 5, 2)))
        turn = rng.uniform(0.4, 1.1) * rng.choice([-1, 1])
        ahead = parent.points[min(root + 3, len(parent.points) - 1)] - parent.points[root]
        own = length * rng.uniform(0.15, 0.4)
        width = float(parent.widths[root]) * 0.8
        paths.append(_branch(rng, parent.points[root], own, math.atan2(ahead[1], ahead[0]) + turn, width))
    paths, shape = frame(paths, 7)
    dark, core = np.zeros(shape), np.zeros(shape, bool)
    for path in paths:
        seen = distances(path, shape)
        open_ = np.interp(seen.along, np.linspace(0, 1, 14), rng.uniform(0.55, 1.1, 14))
        dark = np.maximum(dark, open_ * np.exp(-(seen.across**2)))
        core |= seen.across < 1.0
    lip = fractal(rng, shape, 12, 2) * 0.1 * step(dark, 0.02, 0.3)
    return Mark(lip - 1.1 * dark, tint(-2.0 * dark), -2.0 * dark, np.zeros(shape), core, (0.25, 1.5))


DEFECTS: dict[str, Callable[[np.random.Generator, float], Mark]] = {
    "scratch": scratch,
    "dent": dent,
    "stain": stain,
    "pit": pit,
    "inclusion": inclusion,
    "crack": crack,
}


def _branch(rng: np.random.Generator, root: Array, length: float, angle: float, width: float) -> Path:
    points = root + jagged(rng, length, angle, 0.55)
    t = np.linspace(0, 1, len(points))
    widths = width * (1 - t) ** 0.45 * rng.uniform(0.75, 1.25, len(points))
    return Path(points, np.maximum(widths, 0.4))


def tint(grey: Array) -> Array:
    """The same change in red, green and blue: (h, w) becomes (h, w, 3)."""
    return np.repeat(grey[..., None], 3, 2)
