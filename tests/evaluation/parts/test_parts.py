"""Bad and good parts: areas as scikit-learn has them, intervals that hold what they promise, groups."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.evaluation.build import NAMES, detections, sample
from vision_lora.errors import DataError, VisionLoraError
from vision_lora.evaluation.parts.groups import group_pictures
from vision_lora.evaluation.parts.intervals import roc_area, roc_area_interval, share_interval
from vision_lora.evaluation.parts.verdicts import judge_parts
from vision_lora.evaluation.scoring.outcomes import find_outcomes

BOX = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    bad, good = random.normal(1, 1, 40).round(1), random.normal(0, 1, 60).round(1)  # rounded: some are equal
    truth = np.repeat([1, 0], [len(bad), len(good)])
    assert roc_area(bad, good) == pytest.approx(roc_auc_score(truth, np.concatenate([bad, good])), abs=1e-12)


def test_the_interval_of_the_area_covers_it() -> None:
    """In 93 to 97 % of 500 simulated sets: two normal distributions, whose area is known."""
    random = np.random.default_rng(0)
    truth = 0.5 * (1 + math.erf(1.2 / 2))  # Phi(1.2 / sqrt 2)
    hits = 0
    for seed in range(500):
        low, high = roc_area_interval(random.normal(1.2, 1, 80), random.normal(0, 1, 80), draws=300, seed=seed)
        hits += low <= truth <= high
    assert 0.93 <= hits / 500 <= 0.97


def test_the_interval_of_a_share_covers_it() -> None:
    """In 93 to 97 % of 500 simulated sets, in the mean over shares: of one share it jumps with the count."""
    random, covered = np.random.default_rng(1), []
    for truth in np.linspace(0.7, 0.98, 29):
        intervals = [share_interval(hits, 60) for hits in random.binomial(60, truth, 500).tolist()]
        covered.append(np.mean([low <= truth <= high for low, high in intervals]))
    assert 0.93 <= np.mean(covered) <= 0.97


def report(parts: int, good: int, groups: list[str] | None = None, limit: float = 0.5):  # type: ignore[no-untyped-def]
    samples = [sample([(0, BOX)] if i < parts else []) for i in range(parts + good)]
    found = [detections([(0, BOX)], [0.9 if i < parts else 0.2]) for i in range(parts + good)]
    names = groups or [str(i) for i in range(parts + good)]
    return judge_parts(find_outcomes(found, samples, NAMES), names, np.full(len(NAMES), limit))


def test_shares_and_doubts() -> None:
    one = report(18, 200)
    assert (one.found.hits, one.found.count, one.thrown_away.hits, one.area) == (18, 18, 0, 1.0)
    assert list(one.doubts()) == ["18 bad parts: between 82% and 100% are found; more parts would say more"]
    assert report(18, 200, limit=0.1).thrown_away.value == 1.0


def test_no_good_part_is_told() -> None:
    one = report(100, 0)
    assert one.area is None
    assert list(one.doubts()) == ["no good part among 100: how many would be thrown away cannot be said"]


def test_a_part_is_as_bad_as_its_worst_picture() -> None:
    one = report(1, 3, groups=["a", "a", "b", "b"])
    assert [(part.name, part.bad, part.rejected, part.pictures) for part in one.parts] == [
        ("a", True, True, (0, 1)),
        ("b", False, False, (2, 3)),
    ]


def test_thresholds_by_class_are_one_order_of_parts() -> None:
    """Each class by its own odds: a weak detection of a class with a low threshold stands above the middle."""
    samples = [sample([(0, BOX)]), sample([(1, BOX)]), sample([])]
    found = [detections([(kind, BOX)], [score]) for kind, score in ((0, 0.3), (1, 0.6), (1, 0.5))]
    one = judge_parts(find_outcomes(found, samples, NAMES), ["a", "b", "c"], np.array([0.2, 0.55, 0.5]))
    assert [part.rejected for part in one.parts] == [part.score >= 0.5 for part in one.parts] == [True, True, False]


# Groups ----------------------------------------------------------------------------------------------------------


PICTURES = [sample([], name) for name in ("s1/p1_a.png", "s1/p1_b.png", "s2/p2_a.png")]


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("picture", ["s1/p1_a.png", "s1/p1_b.png", "s2/p2_a.png"]),
        ("folder", ["s1", "s1", "s2"]),
        ("(.+)_[ab]", ["p1", "p1", "p2"]),
    ],
)
def test_ways_to_group(how: str, parts: list[str]) -> None:
    assert group_pictures(how, PICTURES, PICTURES) == parts


def test_a_csv_groups(tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    file.write_text("picture,part,note\np1_a.png,A,x\ns1/p1_b.png,A,\np2_a.png,B,\n", "utf-8")
    assert group_pictures(str(file), PICTURES, PICTURES) == ["A", "A", "B"]
    assert group_pictures(str(file), PICTURES[:1], PICTURES) == ["A"], "it may name pictures of other splits"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,part\nnone.png,A\n", "line 2: 'none.png' names no picture of the dataset"),
        ("picture,part\np1_a.png,A\np1_a.png,B\n", "line 3: 'p1_a.png' is of part 'B', above of 'A'"),
        ("picture,part\np1_a.png,A\n", "no part for 2 of 3 pictures, the first: s1/p1_b.png"),
        ("picture,part\np1_a.png,\n", "line 2: expected a picture and its part"),
        ("file,part\n", "line 1: expected the columns picture and part"),
        (None, "cannot be read (No such file"),
    ],
)
def test_a_csv_that_does_not_fit_is_told(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "parts.csv"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(DataError) as caught:
        group_pictures(str(file), PICTURES, PICTURES)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    ("how", "message"),
    [("(", "no pattern"), (".+", "one (...)"), ("(p1)_.", "names the part of 2 of 3 pictures, not of p2_a.png")],
)
def test_a_pattern_that_does_not_fit_is_told(how: str, message: str) -> None:
    with pytest.raises(VisionLoraError) as caught:
        group_pictures(how, PICTURES, PICTURES)
    assert message in str(caught.value)
