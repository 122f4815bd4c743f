"""Grouped, stratified splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.build import picture, yolo
from vision_lora.datasets import Sample, open_dataset
from vision_lora.datasets.split import SHARES, grouped_split, split_dataset
from vision_lora.errors import DataError


def labelled(classes: list[list[int]]) -> list[Sample]:
    return [
        Sample(Path(f"{i}.png"), 64, 48, np.zeros((len(kinds), 4), np.float32), np.array(kinds, np.int64))
        for i, kinds in enumerate(classes)
    ]


def shares_of(chosen: list[str], wanted: list[bool]) -> dict[str, float]:
    counted = [split for split, want in zip(chosen, wanted, strict=True) if want]
    return {split: counted.count(split) / len(counted) for split in SHARES}


def test_classes_keep_their_shares() -> None:
    """Common, rare and double labels, and negatives: each within a few pictures of 70 / 15 / 15."""
    rng = np.random.default_rng(0)
    samples = labelled([rng.choice(4, size=rng.integers(0, 3), p=[0.6, 0.25, 0.1, 0.05]).tolist() for _ in range(600)])
    chosen = grouped_split(samples, range(600), SHARES)
    for kind in range(4):
        wanted = [kind in sample.classes for sample in samples]
        for split, share in shares_of(chosen, wanted).items():
            assert abs(share - SHARES[split]) * sum(wanted) <= 2.5, (kind, split)
    for split, share in shares_of(chosen, [not len(sample.classes) for sample in samples]).items():
        assert abs(share - SHARES[split]) < 0.03


def test_groups_stay_whole_and_shares_hold() -> None:
    rng = np.random.default_rng(1)
    samples = labelled([[int(kind)] for kind in rng.integers(0, 3, 300)])
    groups = rng.integers(0, 60, 300).tolist()
    chosen = grouped_split(samples, groups, SHARES)
    assert all(len({chosen[i] for i in range(300) if groups[i] == group}) == 1 for group in set(groups))
    for kind in range(3):
        for split, share in shares_of(chosen, [kind in sample.classes for sample in samples]).items():
            assert abs(share - SHARES[split]) < 0.08


def test_the_seed_decides() -> None:
    samples = labelled([[0]] * 100)
    one, again, other = (grouped_split(samples, range(100), SHARES, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_new_split_stays_close_to_the_old_one() -> None:
    samples = labelled([[i % 3] for i in range(300)])
    current = grouped_split(samples, range(300), SHARES, seed=5)
    groups = list(range(300))
    for i in range(0, 20, 2):
        groups[i + 1] = i
    moved = sum(a != b for a, b in zip(current, grouped_split(samples, groups, SHARES, current=current), strict=True))
    assert moved < 60
    unrelated = sum(a != b for a, b in zip(current, grouped_split(samples, groups, SHARES), strict=True))
    assert moved < 0.7 * unrelated


def test_a_dataset_with_one_split_gets_three(tmp_path: Path) -> None:
    """Each picture stands twice in the dataset: both copies end on the same side."""
    data = yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n"] * 20)
    for i in range(20):
        picture(tmp_path / f"images/train/{i}_again.png", seed=i)
        (tmp_path / f"labels/train/{i}_again.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    dataset = open_dataset(data)
    split = split_dataset(dataset, seed=3)
    assert list(split.splits) == ["train", "val", "test"]
    where = {sample.path.stem: name for name, samples in split.splits.items() for sample in samples}
    assert len(where) == 40
    assert all(where[str(i)] == where[f"{i}_again"] for i in range(20))
    assert 24 <= len(split.splits["train"]) <= 30
    again = split_dataset(dataset, seed=3)
    assert [s.path for s in again.splits["val"]] == [s.path for s in split.splits["val"]]
    assert dataset.splits.keys() == {"train"}, "the dataset itself stays"


def test_too_few_pictures_to_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 3"):
        split_dataset(open_dataset(yolo(tmp_path)))
