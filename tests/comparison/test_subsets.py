from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_lora.comparison.subsets import few_shot, pictures_per_class
from vision_lora.datasets.sample import Sample


def picture(*classes: int) -> Sample:
    return Sample(Path("x.png"), 9, 9, np.zeros((len(classes), 4), "f4"), np.array(classes, np.int64))


CLASSES = 4
pictures = st.lists(
    st.lists(st.integers(0, CLASSES - 1), max_size=5).map(lambda classes: picture(*classes)), min_size=1, max_size=40
)


@given(pictures, st.lists(st.integers(1, 8), min_size=1, max_size=3), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_each_class_has_its_pictures_and_subsets_are_nested(samples: list[Sample], shots: list[int], seed: int) -> None:
    subsets = few_shot(samples, shots, CLASSES, seed)
    there = pictures_per_class(samples, CLASSES)
    for k in shots:
        chosen = [samples[index] for index in subsets[k]]
        assert len(set(subsets[k])) == len(subsets[k])
        assert all(len(sample.boxes) for sample in chosen)
        for have, most in zip(pictures_per_class(chosen, CLASSES), there, strict=True):
            assert have >= min(k, most)
    for small, large in zip(sorted(set(shots)), sorted(set(shots))[1:], strict=False):
        assert set(subsets[small]) <= set(subsets[large])
    assert subsets == few_shot(samples, shots, CLASSES, seed)


def test_the_seed_draws_other_pictures() -> None:
    samples = [picture(index % 2) for index in range(100)]
    drawn = {tuple(few_shot(samples, [5], 2, seed)[5]) for seed in range(5)}
    assert len(drawn) == 5


def test_common_classes_do_not_flood_the_subset() -> None:
    """Class 0 is everywhere; pictures that show only the rare class, or few boxes of class 0, are taken."""
    samples = [picture(0, 0, 0, 0, 1) for _ in range(20)] + [picture(0) for _ in range(20)] + [picture(1)] * 20
    chosen = [samples[index] for index in few_shot(samples, [5], 2, 0)[5]]
    assert sum(len(sample.boxes) for sample in chosen) <= 5 * 5 + 5
    assert pictures_per_class(chosen, 2)[1] == 5


def test_a_class_that_nobody_shows_is_no_hindrance() -> None:
    assert few_shot([picture(0)], [3], 2, 0) == {3: [0]}
