"""Near-copies: the same view once more, encoded anew, or taken a moment later of a line that stood still."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.images import read_image

# Means of so many pixels a side are compared: JPEG and the noise of a sensor average out in them.
BLOCK = 8
# Grey levels: a JPEG of quality 80 differs by less from its original, noise of 5 levels too; a scratch of one pixel's
# width changes the mean of a block by an eighth of its contrast.
LEAST = 6.0


def near_copy(one: Path, other: Path, imgsz: int) -> bool:
    """Whether two pictures differ nowhere by more than noise, at the size at which a detector sees them.

    Pictures of equal parts in a fixture are none where one has a defect that can be seen, however alike the rest is.
    How bright the whole is does not matter: lamps flicker.

    Args:
        one: file of a picture.
        other: file of another.
        imgsz: side of the square that a picture is fitted into, pixels.

    Raises:
        DataError: one of them cannot be decoded.
    """
    first, second = (_blocks(path, imgsz // BLOCK) for path in (one, other))
    return bool(np.abs(first - second).max() < LEAST)


@lru_cache(maxsize=4096)
def _blocks(path: Path, side: int) -> NDArray[np.float32]:
    """Means of blocks, as bright as middle grey on the whole, (side, side); JPEG keeps light better than colour."""
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    bright: NDArray[np.float32] = small * (128 / max(float(small.mean()), 1.0))
    return bright
