from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vision_lora.comparison.stats import paired, resampled
from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.matches import match
from vision_lora.pictures.detections import Detections

BOX = np.array([[10, 10, 50, 50]], np.float32)


def run(right: list[bool]) -> list:
    """Matches of one class with one box a picture, found or missed, without false alarms."""
    samples = [Sample(Path("x.png"), 200, 200, BOX, np.array([0])) for _ in right]
    found = [
        Detections(BOX[:hit], np.ones(int(hit), np.float32), np.zeros(int(hit), np.int64), ("a",), 0) for hit in right
    ]
    return match(found, samples, ["a"])


def test_the_interval_is_that_of_the_share_of_found_boxes() -> None:
    """Without false alarms AP is the share of found boxes (in steps of 0.01), whose spread is the binomial one."""
    right = [index % 4 > 0 for index in range(400)]
    maps = resampled({"some": [run(right)], "all": [run([True] * 400)]}, 400, resamples=400)
    assert np.allclose(maps["all"], 1)
    assert maps["some"].mean() == pytest.approx(0.75, abs=0.01)
    assert maps["some"].std() == pytest.approx((0.75 * 0.25 / 400) ** 0.5, rel=0.15)
    interval = paired(maps["some"], maps["all"], -0.25)
    assert interval.difference == -0.25
    assert interval.low == pytest.approx(-0.25 - 1.96 * 0.0217, abs=0.012)
    assert interval.high == pytest.approx(-0.25 + 1.96 * 0.0217, abs=0.012)


def test_pairing_takes_out_what_both_share() -> None:
    """Two runs that differ in one picture of a hundred differ little, however much each varies."""
    hits = np.random.default_rng(0).random(100) < 0.5
    other = hits.copy()
    other[int(np.flatnonzero(~hits)[0])] = True
    maps = resampled({"one": [run(hits.tolist())], "other": [run(other.tolist())]}, 100, resamples=300)
    interval = paired(maps["other"], maps["one"], 0.01)
    assert 0 <= interval.low <= interval.high <= 0.05
    assert np.percentile(maps["one"], 97.5) - np.percentile(maps["one"], 2.5) > 0.1


def test_runs_of_a_method_are_averaged_on_each_resample() -> None:
    good, bad = run([True] * 20), run([False] * 20)
    maps = resampled({"both": [good, bad]}, 20, resamples=10)
    assert np.allclose(maps["both"], 0.5)


def test_the_same_seed_draws_the_same_pictures() -> None:
    one = run([index % 3 > 0 for index in range(30)])
    first, second = (resampled({"m": [one]}, 30, resamples=60)["m"] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, resampled({"m": [one]}, 30, resamples=60, seed=1)["m"])
