"""What is spoiled on purpose, and found again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluation.adapter import label_what_is_found
from tests.evaluation.build import NAMES, random_pictures
from vision_lora.benchmarks import spoiled
from vision_lora.benchmarks.spoiled import main, spoil
from vision_lora.datasets import open_dataset
from vision_lora.evaluation.scoring.outcomes import overlaps


def test_what_is_said_to_be_spoiled_is_and_nothing_else() -> None:
    _, sound = random_pictures(0)
    changed, told = spoil(sound, len(NAMES), 0.2, seed=1)
    count = sum(len(one.boxes) for one in sound)
    kinds = Counter(one.how for one in told)
    assert len(told) == round(0.2 * count)
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert sum(len(one.boxes) for one in changed) == count - kinds["dropped"]
    touched = {one.picture for one in told}
    for index, (before, after) in enumerate(zip(sound, changed, strict=True)):
        if index not in touched:
            assert before is after
        assert np.all((after.boxes >= 0) & (after.boxes <= 320))
    for one in told:
        if one.how == "moved":
            assert overlaps(one.places[:1], one.places[1:])[0] < 0.5
            assert (changed[one.picture].boxes == one.places[1].astype(np.float32)).all(1).any()
    again, _ = spoil(sound, len(NAMES), 0.2, seed=1)
    assert all(np.array_equal(one.boxes, other.boxes) for one, other in zip(changed, again, strict=True))


def test_it_runs_with_an_adapter(tmp_path: Path) -> None:
    root = label_what_is_found(tmp_path / "data")
    words = ["--data", root / "data.yaml", "--adapter", root / "adapter.safetensors", "--device", "cpu"]
    more = ["--split", "val", "--share", 0.5, "--json", tmp_path / "a.json"]
    assert main([str(word) for word in (*words, *more)]) == 0
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["spoiled"] == 2
    assert {how: count for how, (_, count) in told["found"].items()} == {"dropped": 1, "moved": 1, "wrong class": 0}
    assert 0 <= told["right"] <= told["first"] <= told["doubts"]


def test_what_it_trains_on_is_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = label_what_is_found(tmp_path / "data")
    samples, names = open_dataset(root).splits["val"], ("it's", 'a "b" \\ c')
    monkeypatch.setattr(spoiled.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    monkeypatch.setattr(spoiled.tempfile, "mkdtemp", lambda prefix: str(tmp_path / prefix))
    config = spoiled.SpoiledConfig(data=str(root))
    adapter = Path(spoiled._train(config, samples, names, 0))
    written = open_dataset(adapter.parents[1] / "data.yaml", strict=True)
    assert written.names == names
    for one, other in zip(samples, written.splits["train"], strict=True):
        assert np.allclose(one.boxes, other.boxes, atol=1e-3)
        assert np.array_equal(one.classes, other.classes)
