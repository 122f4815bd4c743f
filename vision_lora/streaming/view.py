"""The newest picture of each source, made ready for the page when somebody looks."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.images import encode_picture

WIDEST = 960  # pixels of a picture on the page


@dataclass(frozen=True, eq=False)
class PageFrame:
    """One picture with what was found in it.

    Args:
        number: of the picture in its source.
        picture: (H, W, 3) uint8 RGB.
        boxes: for the page: corners as shares of width and height, class, score, whether it is a defect, its track.
    """

    number: int
    picture: NDArray[np.uint8]
    boxes: list[dict[str, Any]]


class View:
    """Holds the newest frame of each source; it becomes a JPEG once, however many look, and never where nobody does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: dict[str, PageFrame] = {}
        self._encoded: dict[str, tuple[int, bytes]] = {}

    def show(self, source: str, frame: PageFrame) -> None:
        """Replace a source's picture."""
        self._frames[source] = frame

    def newest(self, source: str) -> PageFrame | None:
        """A source's picture; None before the first."""
        return self._frames.get(source)

    def jpeg(self, source: str, frame: PageFrame) -> bytes:
        """A frame's picture, at most `WIDEST` pixels wide."""
        with self._lock:
            number, encoded = self._encoded.get(source, (-1, b""))
            if number != frame.number:
                encoded = _small_jpeg(frame.picture)
                self._encoded[source] = (frame.number, encoded)
            return encoded


def _small_jpeg(picture: NDArray[np.uint8]) -> bytes:
    height, width = picture.shape[:2]
    if width > WIDEST:
        size = (WIDEST, max(1, round(height * WIDEST / width)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_picture(picture, ".jpg", quality=80)
