"""Labelling by `propose` beside random pictures: the rounds are what they are said to be."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.api.build import adapter
from tests.docs.plant import dataset
from vision_lora.benchmarks import labelling
from vision_lora.benchmarks.labelling import main
from vision_lora.datasets import open_dataset
from vision_lora.options.train import TrainConfig


def test_both_rules_begin_alike_and_learn_from_as_many_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training, which takes its time, gives an adapter that has learned nothing; what it would learn from is kept."""
    learned: list[tuple[set[str], int]] = []

    def train(config: TrainConfig, _: object) -> SimpleNamespace:
        splits = open_dataset(config.data, strict=True).splits
        learned.append(({sample.path.name for sample in splits["train"]}, len(splits["val"])))
        return SimpleNamespace(result=adapter(Path(config.data).with_name("adapter.safetensors")))

    monkeypatch.setattr(labelling, "train", train)
    dataset(tmp_path, "data.yaml", ["scratch", "dent"])
    words = ["--data", tmp_path / "data.yaml", "--pictures", 1, "--rounds", 1, "--seeds", 2, "--device", "cpu"]
    assert main([str(word) for word in (*words, "--json", tmp_path / "a.json")]) == 0
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [(row["seed"], row["rule"], row["pictures"]) for row in rows] == [
        (seed, rule, count) for seed in (0, 1) for rule in ("propose", "random") for count in (2, 4)
    ]
    assert [(len(pictures), val) for pictures, val in learned] == [(2, 2), (4, 2), (4, 2)] * 2
    for first, *more in (learned[:3], learned[3:]):
        assert all(first[0] < pictures for pictures, _ in more)
    assert learned[0][0] != learned[3][0], "each seed begins with pictures of its own"
    assert "4 pictures: mAP50-95" in capsys.readouterr().out


def test_too_few_pictures_are_told_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path, "data.yaml", ["scratch", "dent"])
    assert main(["--data", str(tmp_path / "data.yaml"), "--rounds", "2", "--pictures", "1"]) == 2
    assert "4 pictures in train; --pictures 1 --rounds 2 needs 6" in capsys.readouterr().err
