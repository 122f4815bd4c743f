"""Our matching and accumulation against pycocotools, on real resamples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.coco_map import coco_map
from vision_lora.evaluation.matches import map_of, match, mean_average_precision
from vision_lora.pictures.detections import Detections

NAMES = ("a", "b", "c")


def scene(seed: int, pictures: int, *, ignored: bool) -> tuple[list[Detections], list[Sample]]:
    """Boxes, and detections that are near them or nowhere; scores in coarse steps, equal ones in different pictures."""
    rng = np.random.default_rng(seed)
    found, samples = [], []
    for _ in range(pictures):
        boxes = _boxes(rng, int(rng.integers(0, 5)))
        classes = rng.integers(0, len(NAMES), len(boxes))
        regions = _boxes(rng, int(rng.integers(0, 4)) if ignored else 0)
        near = np.repeat(boxes, 2, 0) + rng.normal(0, 6, (2 * len(boxes), 4))
        guesses = np.concatenate([near, _boxes(rng, int(rng.integers(0, 6)))]).astype(np.float32)
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        guessed = np.concatenate([np.repeat(classes, 2), rng.integers(0, len(NAMES), len(guesses) - 2 * len(boxes))])
        scores = rng.permutation(np.arange(len(guesses)) / 20).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        found.append(Detections(guesses[order], scores[order], guessed[order].astype(np.int64), NAMES, 0))
        kinds = rng.integers(0, len(NAMES), len(regions))
        samples.append(Sample(Path("x.png"), 200, 200, boxes, classes.astype(np.int64), regions, kinds))
    return found, samples


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner, side = rng.uniform(0, 150, (count, 2)), rng.uniform(20, 60, (count, 2))
    return np.concatenate([corner, corner + side], 1).astype(np.float32)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_resamples_score_as_pycocotools_scores_the_pictures_repeated(seed: int, ignored: bool) -> None:
    found, samples = scene(seed, 6, ignored=ignored)
    draws = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6), 4)
    weights = np.concatenate([np.ones((1, 6), np.int64), draws])
    ours = mean_average_precision(match(found, samples, NAMES), weights)
    for value, row in zip(ours, weights, strict=True):
        repeated = [index for index, times in enumerate(row) for _ in range(times)]
        if not any(len(samples[index].boxes) for index in repeated):
            assert np.isnan(value)
            continue
        theirs = coco_map([found[index] for index in repeated], [samples[index] for index in repeated], NAMES)
        assert value == pytest.approx(theirs.map50_95, abs=1e-12)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_an_epoch_is_measured_as_pycocotools_measures_it(seed: int, ignored: bool) -> None:
    found, samples = scene(seed, 8, ignored=ignored)
    if any(len(sample.boxes) for sample in samples):
        theirs = coco_map(found, samples, NAMES)
        assert map_of(found, samples, NAMES) == pytest.approx((theirs.map50_95, theirs.map50), abs=1e-9)


def test_only_the_best_hundred_of_a_class_count() -> None:
    box = np.array([[10, 10, 50, 50]], np.float32)
    sample = Sample(Path("x.png"), 200, 200, box, np.array([0]))
    wrong = np.tile(np.array([[100, 100, 150, 150]], np.float32), (100, 1))
    scores = np.concatenate([np.linspace(0.9, 0.5, 100), [0.4]]).astype(np.float32)
    found = Detections(np.concatenate([wrong, box]), scores, np.zeros(101, np.int64), NAMES, 0)
    weights = np.ones((1, 1), np.int64)
    assert mean_average_precision(match([found], [sample], NAMES), weights)[0] == 0
    kept = slice(1, None)
    fewer = replace(found, boxes=found.boxes[kept], scores=scores[kept], classes=found.classes[kept])
    assert mean_average_precision(match([fewer], [sample], NAMES), weights)[0] == pytest.approx(0.01)


def test_detections_of_other_names_do_not_count() -> None:
    box = np.array([[10, 10, 50, 50]], np.float32)
    sample = Sample(Path("x.png"), 200, 200, box, np.array([1]))
    found = Detections(box, np.ones(1, np.float32), np.array([1]), ("person", "b"), 1)
    weights = np.ones((1, 1), np.int64)
    assert mean_average_precision(match([found], [sample], NAMES), weights)[0] == pytest.approx(1)
    assert mean_average_precision(match([replace(found, classes=np.array([0]))], [sample], NAMES), weights)[0] == 0
