"""Retention: what a detector still knows of its general classes after it was taught new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.batches.loader import Batches
from vision_lora.datasets.sample import Sample
from vision_lora.detectors.base import Detector
from vision_lora.evaluation.coco_map import MapResult, coco_map
from vision_lora.evaluation.matching import objects_found
from vision_lora.evaluation.measure import detect_all
from vision_lora.pictures.detections import CONFIDENCE, Detections, Mode
from vision_lora.pictures.drawing import Picture, draw_truth, grid
from vision_lora.pictures.images import write_picture

_SHEET = 24  # pictures of lost objects, at most


@dataclass(frozen=True)
class Lost:
    """An object that was found before and is not any more.

    Args:
        picture: position in the samples.
        box: position among its boxes.
    """

    picture: int
    box: int


@dataclass(frozen=True)
class Retention:
    """What one detector knows of the general classes, beside the base.

    Args:
        result: its mAP on them.
        change: of map50_95 against the base.
        per_class: change of map50_95 by class; classes without ground truth are left out.
        identical: whether every detection is the base's own, to the bit.
        lost: objects that the base finds and this one does not.
        gained: how many it finds that the base does not.
    """

    result: MapResult
    change: float
    per_class: Mapping[str, float]
    identical: bool
    lost: Sequence[Lost]
    gained: int

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def general_detections(
    detector: Detector, batches: Batches, samples: Sequence[Sample], *, joint: bool
) -> list[Detections]:
    """What a detector finds of its general classes.

    Args:
        detector: the base, with or without an adapter.
        batches: `eval_loader(samples, ...)`.
        samples: the pictures.
        joint: take the active adapter's joint pass instead of the base pass.
    """
    mode: Mode = "both" if joint else "general"
    return [found.of("general") for found in detect_all(detector, batches, samples, mode=mode)]


def compare(
    before: Sequence[Detections], after: Sequence[Detections], samples: Sequence[Sample], names: Sequence[str]
) -> Retention:
    """Hold a detector's findings against the base's.

    Args:
        before: the base's detections in each sample.
        after: the other detector's.
        samples: pictures with their ground truth.
        names: the dataset's classes.
    """
    base, result = coco_map(before, samples, names), coco_map(after, samples, names)
    known = [_found(sample, found, names) for sample, found in zip(samples, before, strict=True)]
    still = [_found(sample, found, names) for sample, found in zip(samples, after, strict=True)]
    return Retention(
        result=result,
        change=result.map50_95 - base.map50_95,
        per_class={
            name: row.map50_95 - was
            for name, row in result.per_class.items()
            if row.map50_95 is not None and (was := base.per_class[name].map50_95) is not None
        },
        identical=all(map(_identical, before, after)),
        lost=[
            Lost(picture, int(box))
            for picture, (one, other) in enumerate(zip(known, still, strict=True))
            for box in np.flatnonzero(one & ~other)
        ],
        gained=int(sum((other & ~one).sum() for one, other in zip(known, still, strict=True))),
    )


def save_lost(path: Path, lost: Sequence[Lost], samples: Sequence[Sample], names: Sequence[str]) -> None:
    """Draw the objects that are not found any more, those pictures first that lost most.

    Raises:
        ValueError: nothing was lost.
    """
    if not lost:
        raise ValueError("nothing was lost")
    by_picture: dict[int, list[int]] = {}
    for one in lost:
        by_picture.setdefault(one.picture, []).append(one.box)
    worst = sorted(by_picture, key=lambda picture: -len(by_picture[picture]))[:_SHEET]
    pictures: list[Picture] = []
    for picture in worst:
        sample, boxes = samples[picture], by_picture[picture]
        pictures.append(draw_truth(sample.read(), sample.boxes[boxes], sample.classes[boxes], names))
    write_picture(path, grid(pictures, columns=min(4, len(pictures))), quality=90)


def _found(sample: Sample, found: Detections, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which objects of a sample a confident detection finds, (n,)."""
    objects = objects_found(sample, found, names)[found.scores >= CONFIDENCE]
    return np.isin(np.arange(len(sample.boxes)), objects)


def _identical(one: Detections, other: Detections) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boxes", "scores", "classes"))
