"""Dead leaves: deterministic, varied at every scale, and samples like any other."""

from __future__ import annotations

import numpy as np

from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.batches.loader import Loading, train_loader
from vision_lora.datasets.leaves import leaves


def test_same_seed_same_pictures() -> None:
    first, again, other = leaves(3, 96, 0), leaves(3, 96, 0), leaves(3, 96, 1)
    for one, two, three in zip(first, again, other, strict=True):
        assert np.array_equal(one.read(), two.read())
        assert not np.array_equal(one.read(), three.read())
        assert one.read().shape == (96, 96, 3)
    assert not np.array_equal(first[0].read(), first[1].read())


def test_spectrum_falls_with_frequency_like_a_photograph() -> None:
    """Energy falls about with the square of the frequency (Field 1987): neither noise nor a flat picture."""
    grey = np.stack([sample.read().mean(2) for sample in leaves(8, 256, 0)])
    power = np.abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True))).mean(0)[0, 1:128] ** 2
    slope, _ = np.polyfit(np.log(np.arange(1, 128)), np.log(power), 1)
    assert -3 < slope < -1.2


def test_they_load_like_files() -> None:
    loader = train_loader(leaves(4, 64, 0), 64, 2, recipe=load_recipe("replay"), seed=0, loading=Loading(0))
    assert sum(len(batch) for batch in loader) == 4
    assert not loader.problems
