"""Mistakes of a detector, those first that are rather mistakes of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vision_lora.evaluation.matching import OVERLAP
from vision_lora.evaluation.scoring.confusion import Verdicts, judge
from vision_lora.evaluation.scoring.curves import curve
from vision_lora.evaluation.scoring.outcomes import Floats, Outcomes, overlaps

Kind = Literal["missed", "false alarm", "wrong class", "badly placed"]

NEAR = 0.1  # overlap from which on two boxes are about the same thing (Bolya et al. 2020, "TIDE")


@dataclass(frozen=True)
class Mistake:
    """Where detector and label do not agree.

    Attributes:
        kind: `missed`: a box that nothing is at; `false alarm`: a detection where no box is; `wrong class`: both, of
            different classes; `badly placed`: both, of one class, that overlap too little.
        picture: place of the picture among the samples.
        box: place among all boxes; None in a false alarm.
        detection: place among all detections; None where it is missed.
        suspicion: how far the label is to be doubted, 0 to 1.
    """

    kind: Kind
    picture: int
    box: int | None
    detection: int | None
    suspicion: float


def find_mistakes(outcomes: Outcomes, thresholds: Floats) -> list[Mistake]:
    """Every mistake above the thresholds, likely mistakes of the labels first.

    A label is doubted by what the detector does elsewhere. A detection without a label is strange where detections of
    its class and at least its score are right as a rule: as strange as their precision, times the share of it that no
    label covers. A label without a detection is strange where others of its class are found: as strange as their
    recall, times the share of them that a better detection of the class supports. Of a wrong class both speak, and are
    joined as independent reasons, 1 - (1 - a)(1 - b). A box that is badly placed has to be strange in both ways, a b:
    where an object ends is often a matter of taste.

    Args:
        outcomes: of pictures, best with an adapter that was not trained on them.
        thresholds: lowest score that counts, by class, (classes,).
    """
    verdicts = judge(outcomes, thresholds)
    confident, unsupported = _precision_above(outcomes), _strangely_unsupported(outcomes, verdicts)
    mistakes = []
    for kind, box, detection in _pairs(outcomes, verdicts):
        found = 0.0 if detection is None else float(confident[detection])
        label = 0.0 if box is None else float(unsupported[box])
        picture = int(outcomes.true_picture[box] if detection is None else outcomes.picture[detection])
        if kind == "false alarm" and detection is not None:
            found *= 1 - _covered(outcomes, picture, detection)
        suspicion = found * label if kind == "badly placed" else 1 - (1 - found) * (1 - label)
        mistakes.append(Mistake(kind, picture, box, detection, suspicion))
    return sorted(mistakes, key=lambda mistake: -mistake.suspicion)


def _pairs(outcomes: Outcomes, verdicts: Verdicts) -> Iterator[tuple[Kind, int | None, int | None]]:
    """Kind, box and detection of each mistake."""
    for rows, boxes in zip(outcomes.by_picture, outcomes.true_by_picture, strict=True):
        wrong = rows[verdicts.shown[rows] & ~outcomes.right[rows]]
        for row in wrong[verdicts.partner[wrong] >= 0].tolist():
            yield "wrong class", int(verdicts.partner[row]), row
        alone, missed = wrong[verdicts.partner[wrong] < 0], boxes[verdicts.met[boxes] < 0]
        iou, _ = overlaps(outcomes.boxes[alone], outcomes.true_boxes[missed])
        same = outcomes.classes[alone][:, None] == outcomes.true_classes[missed][None]
        near = _nearest_pairs(np.where(same, iou, 0.0))
        for row, box in near:
            yield "badly placed", int(missed[box]), int(alone[row])
        for row in set(range(len(alone))) - {row for row, _ in near}:
            yield "false alarm", None, int(alone[row])
        for box in set(range(len(missed))) - {box for _, box in near}:
            yield "missed", int(missed[box]), None


def _nearest_pairs(iou: Floats) -> list[tuple[int, int]]:
    """Detections and boxes that overlap a little, each once, the closest first."""
    pairs: list[tuple[int, int]] = []
    left = iou.copy()
    while left.size and left.max() >= NEAR:
        row, box = (int(place) for place in np.unravel_index(left.argmax(), left.shape))
        pairs.append((row, box))
        left[row], left[:, box] = 0, 0
    return pairs


def _precision_above(outcomes: Outcomes) -> Floats:
    """For each detection the precision of its class at its score, by the interpolated curve, (n,)."""
    precision = np.zeros(len(outcomes.scores))
    for index in range(len(outcomes.names)):
        own = np.flatnonzero(outcomes.counts & (outcomes.classes == index))
        line = curve(outcomes, index)
        if len(own):
            precision[own] = line.interpolated[np.searchsorted(-line.scores, -outcomes.scores[own])]
    return precision


def _covered(outcomes: Outcomes, picture: int, detection: int) -> float:
    """The largest share of a detection that lies in one label, 0 to 1."""
    _, inside = overlaps(outcomes.boxes[detection][None], outcomes.true_boxes[outcomes.true_by_picture[picture]])
    return min(1.0, float(inside.max(initial=0.0)))


def _strangely_unsupported(outcomes: Outcomes, verdicts: Verdicts) -> Floats:
    """For each box the recall of its class, times the share of its boxes with a better detection at them, (m,)."""
    support = np.zeros(len(outcomes.true_classes))
    for rows, boxes in zip(outcomes.by_picture, outcomes.true_by_picture, strict=True):
        iou, _ = overlaps(outcomes.boxes[rows], outcomes.true_boxes[boxes])
        same = outcomes.classes[rows][:, None] == outcomes.true_classes[boxes][None]
        scores = np.where(same & (iou >= OVERLAP), outcomes.scores[rows][:, None], 0.0)
        support[boxes] = scores.max(0, initial=0.0)
    hit = np.zeros(len(support), bool)
    hit[outcomes.partner[verdicts.shown & outcomes.right]] = True
    strange = np.zeros(len(support))
    for index in range(len(outcomes.names)):
        own = np.flatnonzero(outcomes.true_classes == index)
        ordered = np.sort(support[own])
        better = 1 - np.searchsorted(ordered, support[own], side="right") / max(1, len(own))
        strange[own] = better * (hit[own].mean() if len(own) else 0.0)
    return strange
