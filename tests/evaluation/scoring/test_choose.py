"""Thresholds by a rule: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.build import NAMES, detections, sample
from vision_lora.errors import ConfigError
from vision_lora.evaluation.scoring.choose import Chosen, choose_thresholds
from vision_lora.evaluation.scoring.outcomes import Outcomes, find_outcomes
from vision_lora.options.threshold import Rule

BOX, OTHER, NEAR = (10.0, 10.0, 50.0, 50.0), (200.0, 200.0, 260.0, 260.0), (200.0, 200.0, 260.0, 261.0)


def outcomes() -> Outcomes:
    """Ten pictures with a pit: eight found at 0.9, 0.8 ... 0.2; a false alarm at 0.85 and 0.35. No stain at all."""
    samples = [sample([(0, BOX), (1, OTHER)]) if i == 9 else sample([(0, BOX)]) for i in range(10)]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    found = [detections([(0, BOX)], [score]) for score in scores]
    found += [detections([(0, OTHER)], [0.85]), detections([(1, OTHER), (0, NEAR)], [0.6, 0.35])]
    return find_outcomes(found, samples, NAMES)


def choose(rule: str) -> Chosen:
    return choose_thresholds(outcomes(), Rule.parse(rule))


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("f1", 0.2),  # 8 of 10 with 2 wrong: 16 / 20, more than 14 / 19
        ("recall=0.5", 0.5),
        ("recall=0.51", 0.4),
        ("recall=.8", 0.2),
        ("false-alarms=1/10", 0.4),  # the second false alarm is at 0.35
        ("false-alarms=0/10", 0.9),
        ("false-alarms=20/100", 0.2),
        ("all:recall=0.5", 0.5),  # of eleven objects the sixth that is found, the dent at 0.6 among them
    ],
)
def test_the_lowest_score_that_counts_is_chosen(rule: str, threshold: float) -> None:
    chosen = choose(rule)
    limit = chosen.thresholds["pit"]
    scores = sorted({*np.unique(outcomes().scores.round(2)).tolist(), 0.0})
    below = max(score for score in scores if score < threshold - 1e-6)
    assert below < limit < threshold
    assert chosen.unreached == ()


def test_one_for_all_is_one() -> None:
    chosen = choose("all:f1")
    assert chosen.thresholds["pit"] == chosen.thresholds["dent"]
    assert len(set(choose("f1").thresholds.values())) == 2


def test_what_cannot_be_reached_is_told_with_what_can() -> None:
    chosen = choose("recall=0.99")
    assert chosen.unreached == ("pit: recall 0.99 is not reached at any threshold: 0.8 at 0.2",)
    assert list(chosen.thresholds) == ["dent"]
    assert choose("all:recall=0.99").thresholds == {}


def test_a_false_alarm_above_all_that_is_right_is_told() -> None:
    found = [detections([(0, OTHER)], [0.9]), detections([(0, BOX)], [0.4])]
    chosen = choose_thresholds(find_outcomes(found, [sample([(0, BOX)])] * 2, NAMES), Rule.parse("false-alarms=0/9"))
    assert chosen.unreached == (
        "pit: false alarms 0/9 are not kept at any threshold: 1 in 2 pictures where the first object is found, at 0.4",
    )


def test_a_class_without_objects_has_no_threshold() -> None:
    for rule in ("f1", "all:f1"):
        chosen = choose(rule)
        assert chosen.absent == ("stain",)
        assert "stain" not in chosen.thresholds


def test_nothing_found_reaches_nothing() -> None:
    chosen = choose_thresholds(find_outcomes([detections([], [])], [sample([(0, BOX)])], NAMES), Rule.parse("f1"))
    assert chosen.unreached == ("pit: f1 is not reached at any threshold: none of 1 objects is found",)


@pytest.mark.parametrize(
    "text", ["", "f2", "recall", "recall=0", "recall=1.5", "recall=95%", "false-alarms=1", "false-alarms=1/0", "all:"]
)
def test_no_rule_is_a_mistake_of_the_call(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected f1, recall=0\.99 or false-alarms=1/100"):
        Rule.parse(text)
