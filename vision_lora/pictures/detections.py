"""What a detector says about one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Source = Literal["general", "defects"]  # whose classes a detection is of: the base's own, or an adapter's
Mode = Literal["general", "defects", "both"]  # which of them are asked for

CONFIDENCE = 0.25  # lowest score that counts where nobody has chosen another


def default_mode(adapter: object) -> Mode:
    """What is asked for where nobody says it: an adapter's classes, without an adapter the base's own.

    Args:
        adapter: any sign of it, its file or its name; None without one.
    """
    return "general" if adapter is None else "defects"


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes found in one picture, best score first.

    A detector speaks two vocabularies: the base's own classes (source `general`) come first in `names`, the classes
    that an adapter learned (source `defects`) follow, so a class index names its source.

    Args:
        boxes: corners x1, y1, x2, y2 in pixels of the original picture, (n, 4) float32.
        scores: confidence in 0 to 1, (n,) float32.
        classes: index into `names`, (n,) int64.
        names: both vocabularies, general classes first.
        general: how many of `names` are the base's own.
        at_limit: whether a pass reached the most detections that were asked for: there may be more.

    Examples:
        >>> found = Detections(np.zeros((1, 4), "f4"), np.ones(1, "f4"), np.array([1]), ("person", "scratch"), 1)
        >>> found.source(0), found.name(0)
        ('defects', 'scratch')
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    general: int
    at_limit: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def name(self, index: int) -> str:
        """Class name of detection `index`."""
        return self.names[int(self.classes[index])]

    def source(self, index: int) -> Source:
        """Which vocabulary detection `index` comes from."""
        return "general" if int(self.classes[index]) < self.general else "defects"

    def of(self, source: Source) -> Detections:
        """Only the detections of one vocabulary."""
        kept = (self.classes < self.general) == (source == "general")
        return replace(self, boxes=self.boxes[kept], scores=self.scores[kept], classes=self.classes[kept])

    def above(self, confidence: float, thresholds: Mapping[str, float]) -> Detections:
        """Only what counts.

        Args:
            confidence: lowest score that counts.
            thresholds: the same for single classes of the adapter, by name.

        Examples:
            >>> found = Detections(np.zeros((2, 4), "f4"), np.array([0.6, 0.4]), np.array([0, 1]), ("pit", "dent"), 0)
            >>> found.above(0.5, {"dent": 0.3}).scores.tolist()
            [0.6, 0.4]
        """
        learned = self.names[self.general :]
        by_class = [confidence] * self.general + [thresholds.get(name, confidence) for name in learned]
        kept = self.scores >= np.array(by_class)[self.classes]
        return replace(self, boxes=self.boxes[kept], scores=self.scores[kept], classes=self.classes[kept])

    def from_letterbox(self, scale: float, pad: tuple[float, float], size: tuple[int, int]) -> Detections:
        """The same detections in pixels of the original picture.

        Args:
            scale: letterboxed pixels per original pixel.
            pad: grey to the left of and above the picture, letterboxed pixels.
            size: width and height of the original picture; boxes are clipped to it.
        """
        boxes = (self.boxes - np.array([*pad, *pad], np.float32)) / np.float32(scale)
        return replace(self, boxes=boxes.clip(0, np.array([*size, *size], np.float32)).astype(np.float32))
