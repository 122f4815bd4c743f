"""Precision, recall and F1 over confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_lora.evaluation.scoring.outcomes import Bits, Floats, Ints, Outcomes


@dataclass(frozen=True, eq=False)
class Curve:
    """What detections with at least some score are worth, at each score that occurs, the highest first.

    Attributes:
        scores: the distinct scores, (k,).
        right: detections with at least this score that are right, (k,).
        wrong: those that are wrong, (k,).
        boxes: ground-truth boxes.
    """

    scores: Floats
    right: Ints
    wrong: Ints
    boxes: int

    @property
    def precision(self) -> Floats:
        """Share of the detections that are right, (k,)."""
        precision: Floats = self.right / (self.right + self.wrong)
        return precision

    @property
    def recall(self) -> Floats:
        """Share of the boxes that are found, (k,); 0 where there is none."""
        recall: Floats = self.right / max(1, self.boxes)
        return recall

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall, (k,)."""
        f1: Floats = 2 * self.right / (self.right + self.wrong + self.boxes)
        return f1

    @property
    def interpolated(self) -> Floats:
        """The best precision at this score or a lower one, (k,), as average precision takes it."""
        best: Floats = np.maximum.accumulate(self.precision[::-1])[::-1]
        return best

    def at(self, threshold: float) -> tuple[int, int]:
        """Right and wrong detections with at least this score."""
        place = int((self.scores >= threshold).sum()) - 1
        return (int(self.right[place]), int(self.wrong[place])) if place >= 0 else (0, 0)


def curve(outcomes: Outcomes, index: int | None = None) -> Curve:
    """The curve of a class; of all classes together without one."""
    own: Bits = outcomes.counts if index is None else outcomes.counts & (outcomes.classes == index)
    boxes = len(outcomes.true_classes) if index is None else int((outcomes.true_classes == index).sum())
    scores, right = outcomes.scores[own], outcomes.right[own]
    last = np.flatnonzero(np.diff(scores, append=-1.0))  # of equal scores the last: a threshold takes all of them
    hits, all_of_them = np.cumsum(right)[last], last + 1
    return Curve(scores[last], hits.astype(np.int64), (all_of_them - hits).astype(np.int64), boxes)
