"""Mean average precision as COCO defines it, computed by pycocotools in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import coco, cocoeval

from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.pictures.detections import Detections

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassResult:
    """How well one class is found.

    Args:
        map50_95: average precision, mean over the IoU thresholds 0.50 to 0.95, 0 to 1; None without ground truth.
        map50: average precision at IoU 0.50, 0 to 1; None without ground truth.
        boxes: ground-truth boxes of the class.
        images: pictures with at least one of them.
    """

    map50_95: float | None
    map50: float | None
    boxes: int
    images: int


@dataclass(frozen=True)
class MapResult:
    """Mean average precision over the classes that have ground truth, all values 0 to 1.

    Args:
        map50_95: mean over the IoU thresholds 0.50, 0.55 ... 0.95, COCO's main number.
        map50: at IoU 0.50.
        map75: at IoU 0.75.
        small: map50_95 of objects below 32² pixels of the original picture, by `Sample.areas`, else by their boxes;
            None where there are none.
        medium: of 32² to 96² pixels.
        large: above 96² pixels.
        per_class: class name to result, in the order of the dataset's names.
    """

    map50_95: float
    map50: float
    map75: float
    small: float | None
    medium: float | None
    large: float | None
    per_class: dict[str, ClassResult]

    def to_json(self) -> dict[str, Any]:
        """The same as nested dicts of plain numbers, for `json.dump`."""
        return asdict(self)


def coco_map(found: Sequence[Detections], samples: Sequence[Sample], names: Sequence[str]) -> MapResult:
    """Scores detections against ground truth with pycocotools' `COCOeval`.

    Classes are matched by name, so a detector may know them in another order and among others; what it finds of other
    classes does not count. As in COCO, the 100 best detections of a class in a picture count, and a class without
    ground truth is left out of every mean.

    Args:
        found: `found[i]` are the detections in `samples[i]`, pixels of the original picture.
        samples: pictures with their ground truth; `classes` index into `names`.
        names: the dataset's class names, each once.

    Returns:
        The means and the result of each class.

    Raises:
        ValueError: `found` and `samples` differ in length.
        DataError: there is no ground-truth box, a class id lies outside `names`, or a name is there twice.

    Examples:
        >>> from pathlib import Path
        >>> box = np.array([[10, 10, 50, 50]], "f4")
        >>> sample = Sample(Path("plate.jpg"), 64, 64, box, np.array([0]))
        >>> seen = Detections(box, np.ones(1, "f4"), np.array([1]), ("person", "scratch"), general=1)
        >>> round(coco_map([seen], [sample], ["scratch"]).map50_95, 3)
        1.0
    """
    if len(found) != len(samples):
        raise ValueError(f"detections of {len(found)} pictures, ground truth of {len(samples)}: they must pair up")
    _check(samples, names)
    with _logged():
        truth = _index(_truth_annotations(samples), len(samples), names)
        guess = _index(_detection_annotations(found, names), len(samples), names)
        evaluation = cocoeval.COCOeval(truth, guess, "bbox")
        # COCO's other limits, 1 and 10, only serve average recall, which is not reported; precision is taken at 100.
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return _summary(evaluation.eval["precision"][..., 0], evaluation.params, samples, names)


def _check(samples: Sequence[Sample], names: Sequence[str]) -> None:
    """Raises DataError for ground truth that gives no honest number."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise DataError(f"class names must differ to be matched by name, found twice: {', '.join(twice)}")
    for sample in samples:
        every = (*sample.classes, *sample.ignored_classes)
        if outside := [int(c) for c in every if not 0 <= c < len(names)]:
            raise DataError(f"{sample.path}: class id {outside[0]} is outside 0 to {len(names) - 1}")
    if not any(len(sample.boxes) for sample in samples):
        raise DataError(f"no ground-truth box in {len(samples)} pictures: mAP is undefined; choose a labelled split")


def _truth_annotations(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Ground truth as COCO annotations, `image_id` being the position in `samples`.

    A region to ignore is what COCO calls a crowd: a detection of its class in it is neither right nor wrong.
    """
    rows = []
    for i, sample in enumerate(samples):
        outlines = repeat(None) if sample.areas is None else sample.areas.tolist()
        for box, c, area in zip(_xywh(sample.boxes), sample.classes.tolist(), outlines, strict=False):
            area = box[2] * box[3] if area is None else area
            rows.append({"image_id": i, "category_id": c, "bbox": box, "area": area, "iscrowd": 0})
        for box, c in zip(_xywh(sample.ignored), sample.ignored_classes.tolist(), strict=True):
            rows.append({"image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 1})
    return rows


def _detection_annotations(found: Sequence[Detections], names: Sequence[str]) -> list[dict[str, Any]]:
    """Detections of the classes in `names` as COCO annotations, `image_id` being the position in `found`."""
    category = {name: c for c, name in enumerate(names)}
    return [
        {"image_id": i, "category_id": category[name], "bbox": box, "area": box[2] * box[3], "score": score}
        for i, detections in enumerate(found)
        for box, score, c in zip(
            _xywh(detections.boxes), detections.scores.tolist(), detections.classes.tolist(), strict=True
        )
        if (name := detections.names[c]) in category
    ]


def _xywh(boxes: NDArray[np.float32]) -> list[list[float]]:
    """Corners x1, y1, x2, y2, (n, 4), as COCO's left, top, width, height, in double precision."""
    corners = boxes.astype(np.float64)
    result: list[list[float]] = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    return result


def _index(annotations: list[dict[str, Any]], images: int, names: Sequence[str]) -> coco.COCO:
    """The `COCO` object that pycocotools would read from a file."""
    # Ids start at 1: COCOeval marks a match with the partner's id and reads 0 as "not matched".
    for identity, annotation in enumerate(annotations, start=1):
        annotation["id"] = identity
    result = coco.COCO()
    dataset: Any = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": c, "name": name} for c, name in enumerate(names)],
        "annotations": annotations,
    }
    result.dataset = dataset
    result.createIndex()
    return result


def _summary(
    precision: NDArray[np.float64], params: cocoeval.Params, samples: Sequence[Sample], names: Sequence[str]
) -> MapResult:
    """Means of COCOeval's precision, (IoU thresholds, recall points, classes, area ranges)."""
    every, small, medium, large = (params.areaRngLbl.index(label) for label in ("all", "small", "medium", "large"))
    at50, at75 = (int(np.argmin(np.abs(params.iouThrs - iou))) for iou in (0.50, 0.75))
    overall = precision[..., every]  # (T, R, K)
    boxes = np.bincount(np.concatenate([s.classes for s in samples]).astype(np.int64), minlength=len(names))
    images = np.bincount(np.concatenate([np.unique(s.classes) for s in samples]).astype(np.int64), minlength=len(names))
    return MapResult(
        map50_95=_mean(overall) or 0.0,
        map50=_mean(overall[at50]) or 0.0,
        map75=_mean(overall[at75]) or 0.0,
        small=_mean(precision[..., small]),
        medium=_mean(precision[..., medium]),
        large=_mean(precision[..., large]),
        per_class={
            name: ClassResult(_mean(overall[..., c]), _mean(overall[at50, :, c]), int(boxes[c]), int(images[c]))
            for c, name in enumerate(names)
        },
    )


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Mean over what has ground truth; COCOeval marks the rest with -1."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


@contextmanager
def _logged() -> Iterator[None]:
    """Sends what pycocotools prints to this module's log.

    Its own `print` is shadowed. Redirecting `sys.stdout` would also swallow what other threads print meanwhile, such as
    the progress display of a training run.
    """

    def debug(*words: object) -> None:
        log.debug(" ".join(map(str, words)))

    modules = [vars(coco), vars(cocoeval)]
    for module in modules:
        module["print"] = debug
    try:
        yield
    finally:
        for module in modules:
            module.pop("print", None)
