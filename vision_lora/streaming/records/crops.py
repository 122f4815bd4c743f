"""A close-up of each defect: in memory for the page, and on disk where one asks for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import OutputError, reason
from vision_lora.pictures.images import encode_picture
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.trouble import Trouble
from vision_lora.system.outputs import write_whole

SHOWN = 24  # the last ones, for the page
MARGIN = 0.35  # of the box's longer side, around it: a defect is judged by what surrounds it
LONGEST = 640  # side of the largest close-up, pixels


class Crops:
    """Cuts defects out of pictures.

    Args:
        folder: where they are kept as `TIME-SOURCE-ID.jpg`, or None.
    """

    def __init__(self, folder: BoundedFolder | None) -> None:
        self._folder = folder
        self._refusal = Trouble("" if folder is None else folder.folder)
        self._shown: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: str, name: str, picture: NDArray[np.uint8], box: NDArray[np.float32]) -> Path | None:
        """Cut one defect out; gives its file, if there is one.

        Args:
            key: of the event that it belongs to.
            name: of the file, without its ending.
            picture: (H, W, 3) uint8 RGB.
            box: its corners, pixels, (4,).
        """
        encoded = encode_picture(cut(picture, box), ".jpg", quality=85)
        with self._lock:
            self._shown[key] = encoded
            while len(self._shown) > SHOWN:
                self._shown.popitem(last=False)
        if self._folder is None:
            return None
        file = self._folder.folder / f"{name}.jpg"
        try:
            write_whole(file, encoded)
            self._folder.added(file)
        except (OutputError, OSError) as error:
            self._refusal.told(f"close-ups cannot be written ({reason(error)})")
            return None
        self._refusal.over()
        return file

    def shown(self, key: str) -> bytes | None:
        """One of the last close-ups as JPEG."""
        with self._lock:
            return self._shown.get(key)


def cut(picture: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A box with some of what is around it, at most `LONGEST` pixels on a side.

    Examples:
        >>> cut(np.zeros((100, 200, 3), np.uint8), np.array([10, 10, 30, 20], "f4")).shape
        (25, 35, 3)
    """
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    margin = MARGIN * max(x2 - x1, y2 - y1)
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    right, bottom = min(width, int(x2 + margin) + 1), min(height, int(y2 + margin) + 1)
    part = picture[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = LONGEST / max(part.shape[:2])
    if scale >= 1:
        return part
    return np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
