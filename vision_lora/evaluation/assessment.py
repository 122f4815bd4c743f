"""All that is known of a detector on a split: what its detections are worth at the thresholds that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.coco_map import MapResult
from vision_lora.evaluation.parts.verdicts import PartReport, Share, judge_parts
from vision_lora.evaluation.scoring.breakdown import SIZES, Breakdown, breakdown
from vision_lora.evaluation.scoring.calibration import Calibration, calibration
from vision_lora.evaluation.scoring.confusion import confusion_matrix, judge
from vision_lora.evaluation.scoring.curves import Curve, curve
from vision_lora.evaluation.scoring.mistakes import Mistake, find_mistakes
from vision_lora.evaluation.scoring.outcomes import Floats, Ints, Outcomes, find_outcomes
from vision_lora.pictures.detections import CONFIDENCE, Detections


@dataclass(frozen=True)
class ClassRow:
    """One class at its threshold.

    Attributes:
        name: of the class.
        boxes: ground-truth boxes.
        threshold: lowest score that counts.
        found: boxes that are found.
        wrong: detections that are not right.
        map50: average precision at IoU 0.50, 0 to 1; None without a box.
        calibration_error: expected, 0 to 1.
    """

    name: str
    boxes: int
    threshold: float
    found: int
    wrong: int
    map50: float | None
    calibration_error: float

    @property
    def precision(self) -> float:
        """Share of the detections that are right; 0 without any."""
        return self.found / max(1, self.found + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the boxes that are found; 0 without any."""
        return self.found / max(1, self.boxes)

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.found / max(1, self.found + self.wrong + self.boxes)


@dataclass(frozen=True, eq=False)
class Assessment:
    """What a report tells.

    Attributes:
        outcomes: detections and boxes.
        result: mean average precision, as COCO counts it.
        limits: lowest score that counts, by class, (classes,).
        rule: where the thresholds come from, in words.
        parts: bad and good parts.
    """

    outcomes: Outcomes
    result: MapResult
    limits: Floats
    rule: str
    parts: PartReport

    @classmethod
    def of(
        cls,
        found: Sequence[Detections],
        samples: Sequence[Sample],
        result: MapResult,
        *,
        thresholds: Mapping[str, float],
        rule: str,
        groups: Sequence[str],
    ) -> Assessment:
        """Assess detections.

        Args:
            found: detections in each sample, down to the lowest scores.
            samples: pictures with their ground truth.
            result: their mean average precision; its classes are the dataset's.
            thresholds: by class; of those that are not named 0.25.
            rule: where these come from, in words.
            groups: the part that each picture shows.
        """
        names = tuple(result.per_class)
        outcomes = find_outcomes(found, samples, names)
        limits = np.array([thresholds.get(name, CONFIDENCE) for name in names], np.float64)
        return cls(outcomes, result, limits, rule, judge_parts(outcomes, groups, limits))

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Of each class."""
        return {name: curve(self.outcomes, index) for index, name in enumerate(self.outcomes.names)}

    @cached_property
    def rows(self) -> list[ClassRow]:
        """Each class at its threshold."""
        rows = []
        for index, (name, line) in enumerate(self.curves.items()):
            found, wrong = line.at(float(self.limits[index]))
            error = calibration(self.outcomes, index).error
            map50 = self.result.per_class[name].map50
            rows.append(ClassRow(name, line.boxes, float(self.limits[index]), found, wrong, map50, error))
        return rows

    @cached_property
    def confusion(self) -> Ints:
        """See `confusion_matrix`."""
        return confusion_matrix(self.outcomes, judge(self.outcomes, self.limits))

    @cached_property
    def places(self) -> tuple[Breakdown, Breakdown]:
        """By size, and by place in the picture."""
        return breakdown(self.outcomes, judge(self.outcomes, self.limits))

    @cached_property
    def calibration(self) -> Calibration:
        """Of all classes together."""
        return calibration(self.outcomes)

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """Those first that are rather mistakes of the labels."""
        return find_mistakes(self.outcomes, self.limits)

    def to_json(self) -> dict[str, Any]:
        """All of it but curves, parts and mistakes, which have files of their own, as plain values."""
        by_size, by_place = self.places
        return {
            "map": self.result.to_json(),
            "rule": self.rule,
            "thresholds": {row.name: row.threshold for row in self.rows},
            "classes": {
                row.name: {
                    "boxes": row.boxes,
                    "threshold": row.threshold,
                    "precision": row.precision,
                    "recall": row.recall,
                    "f1": row.f1,
                    "map50": row.map50,
                    "missed": row.boxes - row.found,
                    "false_alarms": row.wrong,
                    "calibration_error": row.calibration_error,
                }
                for row in self.rows
            },
            "confusion": {"classes": [*self.outcomes.names, "background"], "matrix": self.confusion.tolist()},
            "by_size": {
                size: dict(zip(_COUNTS, row, strict=True)) for size, row in zip(SIZES, _rows(by_size), strict=True)
            },
            "by_place": dict(zip(_COUNTS, (part.tolist() for part in _parts(by_place)), strict=True)),
            "calibration": {
                "error": self.calibration.error,
                "bins": self.calibration.count.tolist(),
                "score": self.calibration.score.tolist(),
                "precision": self.calibration.precision.tolist(),
            },
            "parts": {
                "bad": _share(self.parts.found),
                "good": _share(self.parts.thrown_away),
                "undecided": self.parts.undecided,
                "roc_area": self.parts.area,
                "roc_area_interval": self.parts.area_interval,
                "doubts": list(self.parts.doubts()),
            },
            "mistakes": len(self.mistakes),
        }


_COUNTS = ("boxes", "missed", "false_alarms")


def _parts(one: Breakdown) -> tuple[Ints, Ints, Ints]:
    return one.boxes, one.missed, one.wrong


def _rows(one: Breakdown) -> list[list[int]]:
    rows: list[list[int]] = np.stack(_parts(one), 1).tolist()
    return rows


def _share(share: Share) -> dict[str, Any]:
    return {"count": share.count, "rejected": share.hits, "share": share.value, "interval": [share.low, share.high]}
