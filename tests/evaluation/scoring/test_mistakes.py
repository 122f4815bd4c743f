"""Which mistakes there are, and that likely mistakes of the labels come first."""

from __future__ import annotations

import numpy as np

from tests.evaluation.build import NAMES, detections, sample
from vision_lora.evaluation.scoring.breakdown import breakdown
from vision_lora.evaluation.scoring.confusion import judge
from vision_lora.evaluation.scoring.mistakes import find_mistakes
from vision_lora.evaluation.scoring.outcomes import Outcomes, find_outcomes

BOX, ASIDE, FAR = (10.0, 10.0, 50.0, 50.0), (30.0, 10.0, 70.0, 50.0), (200.0, 200.0, 300.0, 300.0)
LIMITS = np.full(len(NAMES), 0.5)


def outcomes(*more: tuple[object, object]) -> Outcomes:
    """Twenty pits and twenty dents that are found, and what is more."""
    sound = [(sample([(0, BOX), (1, FAR)]), detections([(0, BOX), (1, FAR)], [0.9, 0.8]))] * 20
    samples, found = zip(*sound, *more, strict=True)
    return find_outcomes(found, samples, NAMES)


def test_each_kind() -> None:
    pairs = [
        (sample([(0, BOX)]), detections([], [])),
        (sample([]), detections([(0, BOX)], [0.9])),
        (sample([(1, BOX)]), detections([(0, BOX)], [0.9])),
        (sample([(0, BOX)]), detections([(0, ASIDE)], [0.9])),  # IoU 1/3
        (sample([(0, BOX)]), detections([(0, BOX)], [0.4])),  # below its threshold
    ]
    kinds = {one.picture - 20: one.kind for one in find_mistakes(outcomes(*pairs), LIMITS)}
    assert kinds == {0: "missed", 1: "false alarm", 2: "wrong class", 3: "badly placed", 4: "missed"}


def test_confident_and_strange_come_first() -> None:
    pairs = [
        (sample([]), detections([(2, BOX)], [0.6])),  # stains are never right
        (sample([]), detections([(0, BOX)], [0.95])),  # pits are
        (sample([(1, FAR)]), detections([(0, FAR)], [0.95])),
    ]
    ranked = [one.picture - 20 for one in find_mistakes(outcomes(*pairs), LIMITS)]
    assert ranked[0] == 2, "a confident detection, and a label that nothing supports"
    assert ranked.index(1) < ranked.index(0)
    suspicion = {one.picture - 20: one.suspicion for one in find_mistakes(outcomes(*pairs), LIMITS)}
    assert suspicion[0] == 0
    assert suspicion[1] > 0.85


def test_what_a_label_covers_is_less_strange() -> None:
    half, whole = ((sample([(1, BOX)]), detections([(0, box)], [0.95])) for box in ((10.0, 10.0, 50.0, 22.0), FAR))
    first, second = (
        next(one.suspicion for one in find_mistakes(outcomes(pair), LIMITS) if one.kind == "false alarm")
        for pair in (half, whole)
    )
    assert first < 0.01 < second


def test_misses_and_false_alarms_are_counted_where_they_are() -> None:
    small = (5.0, 150.0, 15.0, 160.0)
    one = outcomes((sample([(0, small)]), detections([(0, FAR)], [0.9])))
    by_size, by_place = breakdown(one, judge(one, LIMITS))
    assert by_size.missed.tolist() == [1, 0, 0]
    assert by_size.wrong.tolist() == [0, 0, 1]
    assert by_place.missed[1, 0] == 1
    assert by_place.wrong[2, 2] == 1
    assert by_place.boxes.sum() == 41


def test_a_detection_in_a_region_to_ignore_is_no_mistake() -> None:
    from dataclasses import replace

    hidden = replace(sample([]), ignored=np.array([FAR], np.float32), ignored_classes=np.array([0]))
    assert find_mistakes(outcomes((hidden, detections([(0, FAR)], [0.9]))), LIMITS) == []
    others = replace(hidden, ignored_classes=np.array([1]))
    assert len(find_mistakes(outcomes((others, detections([(0, FAR)], [0.9]))), LIMITS)) == 1
