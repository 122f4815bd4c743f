"""Where a detector misses and where it raises false alarms: by size and by place in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.scoring.confusion import Verdicts
from vision_lora.evaluation.scoring.outcomes import Floats, Ints, Outcomes

SIZES = ("small", "medium", "large")  # COCO's: below 32² pixels of the original picture, to 96², above
_SIDES = (32.0, 96.0)
GRID = 3  # rows and columns of places


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Counts by size, (3,), and by place, (3, 3): rows from the top.

    Attributes:
        boxes: ground truth.
        missed: boxes that nothing of their class is at.
        wrong: detections that are not right.
    """

    boxes: Ints
    missed: Ints
    wrong: Ints


def breakdown(outcomes: Outcomes, verdicts: Verdicts) -> tuple[Breakdown, Breakdown]:
    """Misses and false alarms by size, and by place."""
    found = verdicts.shown & outcomes.right
    hit = np.zeros(len(outcomes.true_classes), bool)
    hit[outcomes.partner[found]] = True
    wrong = verdicts.shown & ~outcomes.right
    true_sizes, sizes = _sizes(outcomes.true_boxes), _sizes(outcomes.boxes)
    true_places = _places(outcomes.true_boxes, outcomes.true_picture, outcomes.samples)
    places = _places(outcomes.boxes, outcomes.picture, outcomes.samples)
    by_size = Breakdown(*(_count(part, len(SIZES)) for part in (true_sizes, true_sizes[~hit], sizes[wrong])))
    cells = [_count(part, GRID**2).reshape(GRID, GRID) for part in (true_places, true_places[~hit], places[wrong])]
    return by_size, Breakdown(*cells)


def _sizes(boxes: Floats) -> Ints:
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    sizes: Ints = np.digitize(sides, _SIDES).astype(np.int64)
    return sizes


def _places(boxes: Floats, picture: Ints, samples: Sequence[Sample]) -> Ints:
    """The cell of each box's centre, counted row by row."""
    size = np.array([(sample.width, sample.height) for sample in samples], np.float64)[picture]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / size
    column, row = (centre * GRID).astype(np.int64).clip(0, GRID - 1).T
    cell: Ints = row * GRID + column
    return cell


def _count(kinds: Ints, length: int) -> Ints:
    count: Ints = np.bincount(kinds, minlength=length).astype(np.int64)
    return count
