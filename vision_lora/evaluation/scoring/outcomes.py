"""Every detection and every box of a split, side by side: which detection is right, which box is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.matching import OVERLAP
from vision_lora.pictures.boxes import areas, common, iou, take
from vision_lora.pictures.detections import Detections

Bits = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Detections, best first, and ground truth of all pictures.

    A detection is right where it takes a box of its class: the best detection first, each the free box that it
    overlaps most, as COCO does at one IoU. So what is right among the detections above a threshold does not depend
    on the others.

    Attributes:
        names: the dataset's classes.
        samples: the pictures.
        picture: of each detection, (n,).
        classes: of each detection, (n,).
        scores: of each detection, 0 to 1, (n,).
        boxes: of each detection, corners in pixels, (n, 4).
        partner: the box that each detection takes, -1 where it takes none, (n,).
        counts: whether each detection counts: not where it only meets a region to ignore, (n,).
        true_picture: of each box, (m,).
        true_classes: of each box, (m,).
        true_boxes: corners in pixels, (m, 4).
    """

    names: tuple[str, ...]
    samples: Sequence[Sample]
    picture: Ints
    classes: Ints
    scores: Floats
    boxes: Floats
    partner: Ints
    counts: Bits
    true_picture: Ints
    true_classes: Ints
    true_boxes: Floats

    @property
    def right(self) -> Bits:
        """Whether each detection is right, (n,)."""
        return self.partner >= 0

    @cached_property
    def by_picture(self) -> list[Ints]:
        """Places of each picture's detections, best first."""
        return _places(self.picture, len(self.samples))

    @cached_property
    def true_by_picture(self) -> list[Ints]:
        """Places of each picture's boxes."""
        return _places(self.true_picture, len(self.samples))


def find_outcomes(found: Sequence[Detections], samples: Sequence[Sample], names: Sequence[str]) -> Outcomes:
    """Match detections with ground truth.

    Of the classes that were read from one box the best counts, as in use: mAP is measured with all of them.

    Args:
        found: `found[i]` are the detections in `samples[i]`, pixels of the original picture.
        samples: pictures with their ground truth.
        names: the dataset's class names; detections of other names do not count.
    """
    number = {name: index for index, name in enumerate(names)}
    rows: list[tuple[Ints, Ints, Floats, Floats, Ints, Bits]] = []
    first = 0
    for index, (detections, sample) in enumerate(zip(found, samples, strict=True)):
        own = np.array([number.get(name, -1) for name in detections.names], np.int64)[detections.classes]
        kept = np.flatnonzero(own >= 0)
        kept = kept[np.argsort(-detections.scores[kept], kind="stable")]
        _, best = np.unique(detections.boxes[kept], axis=0, return_index=True)  # the first of equal boxes
        kept = kept[np.sort(best)]
        boxes, classes = detections.boxes[kept].astype(np.float64), own[kept]
        partner = _partners(boxes, classes, sample)
        counts = (partner >= 0) | ~_in_ignored(boxes, classes, sample)
        rows.append(
            (
                np.full(len(kept), index, np.int64),
                classes,
                detections.scores[kept].astype(np.float64),
                boxes,
                np.where(partner >= 0, partner + first, -1),
                counts,
            )
        )
        first += len(sample.boxes)
    picture, classes, scores, boxes, partner, counts = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(-scores, kind="stable")
    return Outcomes(
        tuple(names),
        samples,
        picture[order],
        classes[order],
        scores[order],
        boxes[order].reshape(-1, 4),
        partner[order],
        counts[order],
        np.repeat(np.arange(len(samples)), [len(sample.boxes) for sample in samples]),
        np.concatenate([sample.classes for sample in samples]).astype(np.int64),
        np.concatenate([sample.boxes for sample in samples]).astype(np.float64).reshape(-1, 4),
    )


def overlaps(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Intersection over union of boxes with each other, and over the area of the first alone, both (n, m)."""
    return iou(one, other), common(one, other) / areas(one)[:, None].clip(1e-9)


def _partners(boxes: Floats, classes: Ints, sample: Sample) -> Ints:
    same = classes[:, None] == sample.classes[None]
    (taken,) = take(np.where(same, iou(boxes, sample.boxes.astype(np.float64)), 0.0), [OVERLAP])
    return taken  # type: ignore[no-any-return]


def _in_ignored(boxes: Floats, classes: Ints, sample: Sample) -> Bits:
    """Whether each detection lies, with most of itself, in a region of its class that is to be ignored, (n,)."""
    _, inside = overlaps(boxes, sample.ignored.astype(np.float64))
    meets = (inside >= OVERLAP) & (classes[:, None] == sample.ignored_classes[None])
    within: Bits = meets.any(1)
    return within


def _places(picture: Ints, pictures: int) -> list[Ints]:
    order = np.argsort(picture, kind="stable")
    return np.split(order, np.searchsorted(picture[order], np.arange(1, pictures)))
