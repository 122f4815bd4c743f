"""From light to pixels: exposure, vignetting, blur, tone curve, noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.rendering.noise import Array
from vision_lora.rendering.relief import Window


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera that is set up: all but the noise is the same in every picture it takes.

    Args:
        gain: exposure, times vignetting, (h, w).
        blur: deviation of the optics' blur, pixels.
        gamma: exponent of the tone curve.
        noise: deviation of the read noise, of full scale.
        shot: deviation of the shot noise at full scale.
        grey: whether the sensor sees no colour.
    """

    gain: Array
    blur: float
    gamma: float
    noise: float
    shot: float
    grey: bool

    def develop(self, light: Array, window: Window) -> Array:
        """What the picture would be without noise.

        Args:
            light: linear, (h, w, 3).
            window: where in the picture.

        Returns:
            Values in 0 to 1, (h, w, 3).
        """
        exposed = light * self.gain[window][..., None]
        if self.grey:
            exposed = np.repeat(exposed.mean(2, keepdims=True), 3, 2)
        exposed = np.asarray(cv2.GaussianBlur(exposed, (0, 0), self.blur), np.float64)
        return np.asarray(np.clip(exposed, 0, 1) ** self.gamma)

    def expose(self, picture: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Add noise and round: (h, w, 3) of 0 to 1 becomes 8 bit."""
        shape = (*picture.shape[:2], 1) if self.grey else picture.shape
        deviation = np.sqrt(self.noise**2 + self.shot**2 * picture)
        noisy = picture + deviation * rng.standard_normal(shape)
        return np.asarray(np.clip(np.rint(255 * noisy), 0, 255), np.uint8)


def draw_camera(rng: np.random.Generator, sound: Array) -> Camera:
    """Set up a camera for a scene.

    Args:
        rng: source of chance.
        sound: light from the scene before any defect, (h, w, 3): sets the exposure, not always well.
    """
    height, width = sound.shape[:2]
    x = (np.arange(width) - rng.normal(width / 2, width / 12)) / width
    y = (np.arange(height)[:, None] - rng.normal(height / 2, height / 12)) / height
    vignette = 1 / (1 + rng.uniform(0.05, 0.9) * (x * x + y * y)) ** 2
    gamma = float(rng.uniform(0.55, 0.9))
    seen = (sound.mean(2) * vignette).ravel()
    wanted = rng.uniform(0.32, 0.62) ** (1 / gamma)  # mean grey in the picture, before the tone curve
    exposure = min(wanted / seen.mean(), 1.15 / float(np.percentile(seen, 99)))
    noise, shot = rng.uniform(0.004, 0.014), rng.uniform(0.006, 0.022)
    blur, grey = float(rng.uniform(0.45, 0.95)), bool(rng.random() < 0.35)
    return Camera(exposure * vignette, blur, gamma, float(noise), float(shot), grey)
