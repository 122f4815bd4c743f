"""A picture of a piece with its defects, and a box around what can be seen of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.rendering.camera import Camera, draw_camera
from vision_lora.rendering.defects import DEFECTS, Mark
from vision_lora.rendering.light import Light, draw_light, shade
from vision_lora.rendering.lookalikes import LOOKALIKES
from vision_lora.rendering.noise import Array
from vision_lora.rendering.relief import Relief, Window
from vision_lora.rendering.surfaces import SURFACES

# How well defects can be seen, the one dial of how hard the data is: the change they make, in units of the roughness of
# the metal around them; median, and spread of its logarithm.
CONTRAST, SPREAD = 1.65, 0.5

# A change that the eye tells from the texture around it, of full scale: the least that is boxed.
VISIBLE = 0.03

_TRIES = 12


@dataclass(frozen=True, eq=False)
class Found:
    """A defect as the camera sees it.

    Args:
        kind: its class.
        box: around its visible pixels, x1, y1, x2, y2 in pixels; the last row and column are inside.
        mask: its visible pixels, in the whole picture, (H, W).
    """

    kind: str
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


@dataclass(eq=False)
class Stage:
    """A piece under lamps, in front of a camera; defects are put on it one after the other.

    Attributes:
        relief: the piece as it is now.
        light: the lamps.
        camera: the camera.
        picture: what the camera sees now, without noise, (H, W, 3) in 0 to 1.
        taken: pixels that belong to something already, (H, W).
    """

    relief: Relief
    light: Light
    camera: Camera
    picture: Array
    taken: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.picture.shape[0], self.picture.shape[1]

    def look(self, relief: Relief, window: Window) -> Array:
        """How a part would look if it were alone, without noise, (h, w, 3)."""
        middle = (self.shape[0] / 2, self.shape[1] / 2)
        origin = (window[0].start, window[1].start)
        return self.camera.develop(shade(relief, self.light, origin, middle), window)

    def look_at(self, window: Window) -> Array:
        """How a part of the piece looks now, without noise, (h, w, 3): its edges as their surroundings make them."""
        wide = (_wider(window[0], self.shape[0]), _wider(window[1], self.shape[1]))
        seen = self.look(self.relief.cut(wide), wide)
        return seen[
            window[0].start - wide[0].start : window[0].stop - wide[0].start,
            window[1].start - wide[1].start : window[1].stop - wide[1].start,
        ]

    def moved_to(self, relief: Relief) -> Stage:
        """The same lamps and camera over another piece, of the same height and at most the same width."""
        height, width = relief.height.shape
        window = (slice(0, height), slice(0, width))
        moved = Stage(relief, self.light, self.camera, self.picture[window], np.zeros((height, width), bool))
        moved.picture = moved.look(relief, window)
        return moved

    def decorate(self, rng: np.random.Generator) -> None:
        """Add something harmless that may look like a defect; to be called before any defect is put."""
        mark, keep_off = LOOKALIKES[int(rng.integers(len(LOOKALIKES)))](rng, self.relief)
        window = (slice(0, self.shape[0]), slice(0, self.shape[1]))
        self.relief.paste(window, mark.on(self.relief, 1.0))
        self.picture = self.look(self.relief, window)
        if keep_off:
            self.taken |= mark.core

    def put(self, rng: np.random.Generator, kind: str, *, clear: float = 1.0, whole: bool = False) -> Found | None:
        """Make a defect of a class, in a free place, as well or badly visible as chance wants.

        Args:
            rng: source of chance.
            kind: the class, a key of `DEFECTS`.
            clear: how much better than usual it can be seen.
            whole: whether the picture's edge may not cut it.

        Returns:
            What the camera sees of it; None where no place was found in which it shows.
        """
        for _ in range(_TRIES):
            place = rng.uniform(0.06, 0.94, 2) * self.shape
            lay = float(self.relief.lay[int(place[0]), int(place[1])])
            mark = DEFECTS[kind](rng, lay)
            wanted = clear * CONTRAST * rng.lognormal(0.0, SPREAD)
            put = self._fit(mark, place, 1.0 if whole else 0.8)
            if put is None:
                continue
            window, mark = put
            found = self._show(kind, mark, window, float(wanted))
            if found is not None:
                return found
        return None

    def _fit(self, mark: Mark, place: Array, least: float) -> tuple[Window, Mark] | None:
        """Window and mark cut to the picture; None where that is taken, or less than a share of the mark is inside."""
        height, width = mark.core.shape
        top, left = round(place[0] - height / 2), round(place[1] - width / 2)
        high, wide = self.shape
        inside = (slice(max(-top, 0), min(high - top, height)), slice(max(-left, 0), min(wide - left, width)))
        if mark.core[inside].sum() < least * mark.core.sum():
            return None
        window = (
            slice(top + inside[0].start, top + inside[0].stop),
            slice(left + inside[1].start, left + inside[1].stop),
        )
        near = cv2.dilate(mark.core[inside].astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
        if (near & self.taken[window]).any():
            return None
        cut = Mark(
            mark.height[inside],
            mark.paint[inside],
            mark.gloss[inside],
            mark.cover[inside],
            mark.core[inside],
            mark.strengths,
        )
        return window, cut

    def _show(self, kind: str, mark: Mark, window: Window, wanted: float) -> Found | None:
        """Put the mark on with the strength at which it stands out as wanted; None where it cannot be seen."""
        before, part = self.picture[window], self.relief.cut(window)
        texture = before.mean(2)
        rough = float((texture - cv2.GaussianBlur(texture, (0, 0), 5)).std())
        aim = wanted * (0.045 + 1.0 * rough + self.camera.noise)
        strength = (mark.strengths[0] * mark.strengths[1]) ** 0.5
        for _ in range(4):
            after = self.look(mark.on(part, strength), window)
            change = np.abs(after - before).mean(2)
            contrast = float(np.percentile(change[mark.core], 75))
            better = float(np.clip(strength * aim / max(contrast, 1e-6), *mark.strengths))
            if abs(better - strength) < 0.05 * strength:
                break
            strength = better
        sound = part.copy()
        self.relief.paste(window, mark.on(part, strength))
        after = self.look_at(window)
        change = cv2.blur(np.abs(after - before).mean(2), (3, 3))
        mask = visible(change, mark.core, max(VISIBLE, 0.35 * rough))
        if mask.sum() < 0.25 * mark.core.sum() or mask.sum() < 20:
            self.relief.paste(window, sound)
            return None
        self.picture[window] = after
        everywhere = np.zeros(self.shape, bool)
        everywhere[window] = mask
        self.taken |= everywhere
        self.taken[window] |= mark.core
        rows, columns = np.flatnonzero(everywhere.any(1)), np.flatnonzero(everywhere.any(0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return Found(kind, box, everywhere)


def _wider(part: slice, end: int) -> slice:
    """A range with what its ends depend on: slopes and blurs reach 14 pixels."""
    return slice(max(part.start - 14, 0), min(part.stop + 14, end))


def visible(change: Array, core: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Pixels at or beside a mark where it can be seen: specks far below the rest of it do not count.

    Args:
        change: of the picture by the mark, 0 to 1, (h, w).
        core: where the mark is, (h, w).
        least: the smallest change that can be seen.
    """
    near = cv2.dilate(core.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    seen = near & (change > max(least, 0.18 * float(np.percentile(change[core], 90))))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(seen.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 4
    large[0] = False
    return np.asarray(large[parts]) if count > 1 else seen


def set_up(rng: np.random.Generator, relief: Relief) -> Stage:
    """A sound piece under lamps and in front of a camera, both by chance."""
    shape = (relief.height.shape[0], relief.height.shape[1])
    light = draw_light(rng, shape)
    sound = shade(relief, light, (0, 0), (shape[0] / 2, shape[1] / 2))
    camera = draw_camera(rng, sound)
    everything = (slice(0, shape[0]), slice(0, shape[1]))
    return Stage(relief, light, camera, camera.develop(sound, everything), np.zeros(shape, bool))


def draw_scene(
    rng: np.random.Generator, shape: tuple[int, int], surface: str, kinds: Sequence[str], lookalikes: int
) -> tuple[Stage, list[Found]]:
    """A piece with defects.

    Args:
        rng: source of chance.
        shape: height and width of the picture in pixels.
        surface: a key of `SURFACES`.
        kinds: the defects to put on it, keys of `DEFECTS`; one that finds no free place is left out.
        lookalikes: how many harmless things to add.

    Returns:
        The stage, whose `camera.expose(picture, rng)` takes pictures of it, and what can be seen of the defects.
    """
    stage = set_up(rng, SURFACES[surface](rng, shape))
    for _ in range(lookalikes):
        stage.decorate(rng)
    found = [stage.put(rng, kind) for kind in kinds]
    return stage, [one for one in found if one is not None]
