"""Lamps, and what a surface sends to the camera under them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vision_lora.rendering.noise import Array
from vision_lora.rendering.relief import Relief


@dataclass(frozen=True)
class Lamp:
    """A lamp at a place: shadows of slopes, and a highlight drawn out across the machining marks."""

    x: float
    y: float
    z: float
    strength: float


@dataclass(frozen=True)
class Tube:
    """A long soft light above, seen as a bright band that every unevenness bends.

    Args:
        angle: direction across the band in the picture, radians.
        place: slope of the surface at which the band is reflected to the camera, at the picture's middle.
        width: of the band, as a slope.
        strength: of the reflection.
    """

    angle: float
    place: float
    width: float
    strength: float


@dataclass(frozen=True)
class Light:
    """All light on a scene; `ambient` comes from everywhere. `distance` is that of the camera, in pixels."""

    lamps: tuple[Lamp, ...]
    tubes: tuple[Tube, ...]
    ambient: float
    distance: float


def draw_light(rng: np.random.Generator, shape: tuple[int, int]) -> Light:
    """An inspection light by chance: low or high, near or far, one or two lamps, mostly with a tube or two above."""
    side = max(shape)
    lamps = []
    for strength in (1.0, rng.uniform(0.2, 0.6))[: 1 + int(rng.random() < 0.35)]:
        azimuth, elevation = (
            rng.uniform(0, 2 * math.pi),
            math.radians(rng.uniform(*((18, 45), (45, 80))[int(rng.random() < 0.65)])),
        )
        distance = side * rng.uniform(1.2, 4.0)
        flat = distance * math.cos(elevation)
        lamps.append(
            Lamp(
                shape[1] / 2 + flat * math.cos(azimuth),
                shape[0] / 2 + flat * math.sin(azimuth),
                distance * math.sin(elevation),
                strength,
            )
        )
    tubes = tuple(
        Tube(rng.uniform(0, math.pi), rng.normal(0, 0.08), rng.uniform(0.03, 0.12), rng.uniform(0.2, 1.0))
        for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.45, 0.25])))
    )
    return Light(tuple(lamps), tubes, rng.uniform(0.15, 0.5), side * rng.uniform(2.0, 4.0))


def shade(relief: Relief, light: Light, origin: tuple[int, int], middle: tuple[float, float]) -> Array:
    """Light that reaches the camera, linear.

    Diffuse light by Lambert, highlights by Ward's anisotropic model (1992, its exponent), tubes as an environment that
    is mirrored with a blur; hollows narrower than a few pixels get less of the ambient light.

    Args:
        relief: what is seen, (h, w).
        light: the lamps, in coordinates of the whole scene.
        origin: y and x of the relief's first pixel in the scene.
        middle: y and x of the point below the camera.

    Returns:
        The picture, (h, w, 3), any range.
    """
    height, width = relief.height.shape
    slope_y, slope_x = np.gradient(relief.height)
    upright = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)  # z of the unit normal
    x = origin[1] + np.arange(width, dtype=np.float64)
    y = origin[0] + np.arange(height, dtype=np.float64)[:, None]
    look_x, look_y = (middle[1] - x) / light.distance, (middle[0] - y) / light.distance  # towards the camera, z = 1
    cos, sin = np.cos(relief.lay), np.sin(relief.lay)
    lean_along = cos * slope_x + sin * slope_y
    lean_across = cos * slope_y - sin * slope_x

    hollow = np.maximum(cv2.GaussianBlur(relief.height, (0, 0), 2.0) - relief.height, 0)
    diffuse = light.ambient * np.maximum(1 - 0.8 * hollow, 0.15)
    mirrored = np.zeros((height, width))
    for lamp in light.lamps:
        way_x, way_y = lamp.x - x, lamp.y - y
        far = np.sqrt(way_x**2 + way_y**2 + lamp.z**2)
        way_x, way_y, way_z = way_x / far, way_y / far, lamp.z / far
        reach = lamp.strength * (math.hypot(lamp.x - middle[1], lamp.y - middle[0], lamp.z) / far) ** 2
        facing = (way_z - way_x * slope_x - way_y * slope_y) * upright
        diffuse += 0.55 * reach * np.maximum(facing, 0)
        # Slope of the facet that would mirror the lamp into the camera, less the surface's own slope.
        half_x, half_y = way_x + look_x, way_y + look_y
        half_z = way_z + 1
        along = (cos * half_x + sin * half_y) / half_z + lean_along
        across = (cos * half_y - sin * half_x) / half_z + lean_across
        mirrored += reach * 0.9 * np.exp(-((along / relief.along) ** 2) - (across / relief.across) ** 2)
    for tube in light.tubes:
        cos_t, sin_t = math.cos(tube.angle), math.sin(tube.angle)
        met = cos_t * (slope_x + look_x / 2) + sin_t * (slope_y + look_y / 2) - tube.place
        # The band blurs with the roughness in its own direction, so it is sharp along the marks only.
        turn = relief.lay - tube.angle
        rough = (np.cos(turn) * relief.along) ** 2 + (np.sin(turn) * relief.across) ** 2
        blur = tube.width**2 + 0.15 * rough
        mirrored += tube.strength * np.sqrt(tube.width**2 / blur) * np.exp(-(met**2) / blur)
    lit = diffuse + relief.gloss * mirrored
    return np.asarray(lit[..., None] * relief.albedo)
