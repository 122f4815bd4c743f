"""Splits that deserve their name: every class in its share, no picture on one side with its near-copy on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.checking.overlap import clusters, find_overlaps, read_squares
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.errors import DataError

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}

# How much a group wants to stay where it is, in units of how much its best and its worst split differ.
_LOYALTY = 1.0


def grouped_split(
    samples: Sequence[Sample],
    groups: Sequence[int],
    shares: dict[str, float],
    *,
    seed: int = 0,
    current: Sequence[str] | None = None,
) -> list[str]:
    """Assign pictures to splits: groups stay whole, and classes keep their share in each split.

    Greedy: the largest group first, each to the split that lacks its classes most.

    Args:
        samples: the pictures; one counts for each class that it has a box of.
        groups: group of each picture; equal numbers stay together, (n,).
        shares: share of the pictures by split, adding up to 1.
        seed: decides between equals.
        current: the split that each picture is in now; where it hardly matters, it stays.

    Returns:
        The split of each picture, (n,).
    """
    splits = list(shares)
    counts = _class_counts(samples)  # (n, classes + 2)
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = list(members.values())
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=len, reverse=True)  # stable: equals stay shuffled

    total = np.maximum(counts.sum(0), 1)
    wanted = np.array([shares[split] for split in splits])[:, None] * total  # (splits, classes + 2)
    filled = np.zeros_like(wanted)
    chosen = [""] * len(samples)
    for together in order:
        vector = counts[together].sum(0)
        # How much further the group takes each split from what is wanted, relative to what is wanted.
        cost = (vector * (2 * (filled - wanted) + vector) / (wanted * total)).sum(1)  # (splits,)
        if current is not None:
            stay = [sum(current[index] == split for index in together) / len(together) for split in splits]
            cost = cost - _LOYALTY * np.ptp(cost).clip(1e-9) * np.array(stay)
        best = int(np.argmin(cost))
        filled[best] += vector
        for index in together:
            chosen[index] = splits[best]
    return chosen


def split_dataset(dataset: Dataset, shares: dict[str, float] | None = None, *, seed: int = 0) -> Dataset:
    """Divide a dataset's pictures anew, near-copies kept together.

    Args:
        dataset: all its splits are thrown together first.
        shares: share of the pictures by split; by default `SHARES`.
        seed: decides between equals; the same seed gives the same split.

    Raises:
        DataError: fewer pictures than splits, or a picture that cannot be decoded.
    """
    shares = shares or SHARES
    samples = [sample for split in dataset.splits.values() for sample in split]
    if len(samples) < len(shares):
        raise DataError(f"{dataset.source}: {len(samples)} pictures; expected at least {len(shares)} to split")
    squares, errors = read_squares([sample.path for sample in samples])
    if errors:
        told = f"{dataset.source}: {len(errors)} of {len(samples)} pictures to split cannot be decoded"
        raise DataError(f"{told}; mend or remove them, with check --fix for instance; the first: {errors[min(errors)]}")
    groups = clusters(len(samples), [(pair.first, pair.second) for pair in find_overlaps(squares)])
    chosen = grouped_split(samples, groups, shares, seed=seed)
    splits = {name: [s for s, split in zip(samples, chosen, strict=True) if split == name] for name in shares}
    return replace(dataset, splits=splits)


def hold_out(dataset: Dataset, *, seed: int = 0) -> Dataset:
    """A dataset that has no val split, with about a fifth of its train split as one; its other splits stay as they are.

    Args:
        dataset: to train on.
        seed: decides between equals; the same seed holds out the same pictures.

    Raises:
        DataError: fewer than two pictures, or one that cannot be decoded.
    """
    whole = replace(dataset, splits={"train": dataset.splits["train"]})
    parts = split_dataset(whole, {"train": 0.8, "val": 0.2}, seed=seed).splits
    return replace(dataset, splits={**dataset.splits, **parts})


def _class_counts(samples: Sequence[Sample]) -> NDArray[Any]:
    """For each picture 1 for itself, 1 if it has no box, and 1 for each class that it shows, (n, 2 + classes)."""
    classes = 1 + max((int(sample.classes.max()) for sample in samples if len(sample.classes)), default=0)
    counts = np.zeros((len(samples), classes + 2))
    counts[:, 0] = 1
    for row, sample in zip(counts, samples, strict=True):
        row[1] = not len(sample.classes)
        row[2 + np.unique(sample.classes)] = 1
    return counts
