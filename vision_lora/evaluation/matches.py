"""COCO's matching of detections with ground truth, in arrays: mAP after each epoch, and of any resample, quickly.

For each resample pycocotools would match anew, though a match depends on one picture alone. Here each picture is
matched once; a resample only weighs the pictures. The result is pycocotools' own (tests hold the two together), but for
detections of one class with equal scores in one picture, whose order among its copies is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.sample import Sample
from vision_lora.pictures.boxes import areas, common, iou, take
from vision_lora.pictures.detections import Detections

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
LIMIT = 100  # detections of a class in a picture that count, best first

Bits = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassMatches:
    """One class in all pictures; detections best first, equal scores in the order of the pictures.

    Attributes:
        picture: that each detection is in, (n,).
        right: whether it matches a box, by IoU threshold, (T, n).
        counts: whether it counts at all: not where it only meets a region to ignore, (T, n).
        boxes: ground-truth boxes of the class in each picture, (pictures,).
    """

    picture: Ints
    right: Bits
    counts: Bits
    boxes: Ints


def match(found: Sequence[Detections], samples: Sequence[Sample], names: Sequence[str]) -> list[ClassMatches]:
    """Match the detections of each class with its boxes, as COCOeval does for boxes of any size.

    Args:
        found: `found[i]` are the detections in `samples[i]`, best first, pixels of the original picture.
        samples: pictures with their ground truth.
        names: the dataset's class names; detections of other names do not count.
    """
    number = {name: index for index, name in enumerate(names)}
    own = [np.array([number.get(name, -1) for name in one.names], np.int64)[one.classes] for one in found]
    result = []
    for c in range(len(names)):
        scores, pictures, right, counts = [], [], [], []
        for index, (detections, sample) in enumerate(zip(found, samples, strict=True)):
            of_class = np.flatnonzero(own[index] == c)
            best = of_class[np.argsort(-detections.scores[of_class], kind="stable")][:LIMIT]
            hits, counted = _match_picture(
                detections.boxes[best].astype(np.float64),
                sample.boxes[sample.classes == c].astype(np.float64),
                sample.ignored[sample.ignored_classes == c].astype(np.float64),
            )
            scores.append(detections.scores[best])
            pictures.append(np.full(len(best), index, np.int64))
            right.append(hits)
            counts.append(counted)
        order = np.argsort(-np.concatenate(scores), kind="stable")
        boxes = np.array([int((sample.classes == c).sum()) for sample in samples], np.int64)
        joined = np.concatenate(right, 1)[:, order], np.concatenate(counts, 1)[:, order]
        result.append(ClassMatches(np.concatenate(pictures)[order], *joined, boxes))
    return result


def map_of(found: Sequence[Detections], samples: Sequence[Sample], names: Sequence[str]) -> tuple[float, float]:
    """map50_95 and map50 as `vision_lora.evaluation.coco_map.coco_map` gives them, in a tenth of its time.

    Args:
        found: `found[i]` are the detections in `samples[i]`, best first, pixels of the original picture.
        samples: pictures with their ground truth; NaN where they show no box at all.
        names: the dataset's class names.

    Examples:
        >>> from pathlib import Path
        >>> box = np.array([[10, 10, 50, 50]], "f4")
        >>> sample = Sample(Path("plate.jpg"), 64, 64, box, np.array([0]))
        >>> seen = Detections(box + 4, np.ones(1, "f4"), np.array([0]), ("scratch",), general=0)
        >>> [round(value, 3) for value in map_of([seen], [sample], ["scratch"])]  # IoU 0.68
        [0.4, 1.0]
    """
    by_iou = _mean_by_iou(match(found, samples, names), np.ones((1, len(samples)), np.int64))
    return float(by_iou.mean()), float(by_iou[0, 0])


def mean_average_precision(matches: Sequence[ClassMatches], weights: Ints) -> NDArray[np.float64]:
    """mAP50-95 of resamples of the pictures, 0 to 1.

    Args:
        matches: of each class.
        weights: how often each picture is in each resample, (resamples, pictures).

    Returns:
        One value a resample, (resamples,); NaN where it shows no box at all.
    """
    result: NDArray[np.float64] = _mean_by_iou(matches, weights).mean(0)
    return result


def _mean_by_iou(matches: Sequence[ClassMatches], weights: Ints) -> NDArray[np.float64]:
    """Mean over the classes that a resample shows, by IoU threshold, (T, resamples); NaN where it shows none."""
    by_class = np.stack([_average_precision(one, weights) for one in matches])  # (classes, T, resamples)
    known = ~np.isnan(by_class)
    total = np.where(known, by_class, 0).sum(0)
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = total / known.sum(0)
    return result


def _average_precision(one: ClassMatches, weights: Ints) -> NDArray[np.float64]:
    """AP of a class, mean over recall points, by IoU threshold, (T, resamples); NaN without a box.

    A picture that is drawn w times gives w copies of its detections. Precision is highest behind the last copy of a
    right detection, so it is looked up there; wrong detections only lower it.
    """
    boxes = (weights * one.boxes).sum(1)  # (resamples,)
    drawn = weights[:, one.picture]  # (resamples, n)
    total = np.zeros((len(IOUS), len(weights)))
    everything = np.cumsum(drawn, 1)
    for row, right, counts in zip(total, one.right, one.counts, strict=True):
        places = np.flatnonzero(right)
        seen = (everything if counts.all() else np.cumsum(drawn * counts, 1))[:, places]
        hits = np.cumsum(drawn[:, places], 1)
        precision = hits / (seen + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for index in np.flatnonzero(boxes):
            reached = np.searchsorted(hits[index] / boxes[index], RECALLS, side="left")
            row[index] = envelope[index, reached[reached < len(places)]].sum()
    return np.where(boxes > 0, total / len(RECALLS), np.nan)


def _match_picture(
    found: NDArray[np.float64], boxes: NDArray[np.float64], ignored: NDArray[np.float64]
) -> tuple[Bits, Bits]:
    """Matching in one picture.

    Args:
        found: corners, best first, (n, 4).
        boxes: corners of the class's boxes, (m, 4).
        ignored: corners of the class's regions, (k, 4); a detection counts neither way by the share of itself in one.

    Returns:
        Whether each detection is right, and whether it counts, by threshold, each (T, n).
    """
    right = take(iou(found, boxes), IOUS) >= 0
    counts = np.ones_like(right)
    if len(ignored):
        inside = (common(found, ignored) / areas(found)[:, None].clip(1e-9)).max(1)  # (n,)
        counts = right | ~(inside >= IOUS[:, None])
    return right, counts
