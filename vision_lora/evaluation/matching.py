"""Which object each detection of a picture finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.sample import Sample
from vision_lora.pictures.boxes import iou, take
from vision_lora.pictures.detections import Detections

OVERLAP = 0.5  # IoU from which on it is the object


def objects_found(sample: Sample, found: Detections, names: Sequence[str]) -> NDArray[np.int64]:
    """Index of the box that each detection finds, (n,), -1 for none.

    A box is found once: by the best-scoring detection of its class, whose name it has, that overlaps it enough.

    Args:
        sample: ground truth.
        found: detections, best score first.
        names: the dataset's class names.
    """
    theirs = np.array([names.index(name) if name in names else -1 for name in found.names], np.int64)[found.classes]
    same = theirs[:, None] == sample.classes[None]
    (taken,) = take(np.where(same, iou(found.boxes, sample.boxes), 0), [OVERLAP])
    return taken  # type: ignore[no-any-return]
