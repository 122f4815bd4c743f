"""What is taken for what: the confusion matrix of a detector, with background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_lora.evaluation.matching import OVERLAP
from vision_lora.evaluation.scoring.outcomes import Bits, Floats, Ints, Outcomes
from vision_lora.pictures.boxes import iou, take


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What becomes of detections and boxes where only detections above their threshold count.

    Attributes:
        shown: whether each detection counts, (n,).
        partner: the box that each of them is at, of its own class or another, -1 for none, (n,).
        met: the detection that each box is met by, -1 for none, (m,).
    """

    shown: Bits
    partner: Ints
    met: Ints


def judge(outcomes: Outcomes, thresholds: Floats) -> Verdicts:
    """Pair detections and boxes: those of one class first, then what is left, whatever its class.

    Args:
        outcomes: of a split.
        thresholds: lowest score that counts, by class, (classes,).
    """
    shown = outcomes.counts & (outcomes.scores >= thresholds[outcomes.classes])
    partner = np.where(shown, outcomes.partner, -1)
    met = np.full(len(outcomes.true_classes), -1, np.int64)
    met[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    for rows, boxes in zip(outcomes.by_picture, outcomes.true_by_picture, strict=True):
        left, missed = rows[shown[rows] & (partner[rows] < 0)], boxes[met[boxes] < 0]
        (taken,) = take(iou(outcomes.boxes[left], outcomes.true_boxes[missed]), [OVERLAP])
        partner[left[taken >= 0]] = missed[taken[taken >= 0]]
        met[missed[taken[taken >= 0]]] = left[taken >= 0]
    return Verdicts(shown, partner, met)


def confusion_matrix(outcomes: Outcomes, verdicts: Verdicts) -> Ints:
    """Boxes by their class (rows) and the class that was detected there (columns); the last of both is background.

    Returns:
        (classes + 1, classes + 1): the last column is what was missed, the last row what was found where nothing is.
    """
    background = len(outcomes.names)
    matrix = np.zeros((background + 1, background + 1), np.int64)
    detected = np.append(outcomes.classes, background)  # -1 reads the last
    np.add.at(matrix, (outcomes.true_classes, detected[verdicts.met]), 1)
    alone = outcomes.classes[verdicts.shown & (verdicts.partner < 0)]
    np.add.at(matrix, (np.full(len(alone), background), alone), 1)
    return matrix
