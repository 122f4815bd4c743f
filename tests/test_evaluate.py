"""The verb: thresholds by a rule, onto the card, and into every use of the adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.evaluation.adapter import SIDE, label_what_is_found
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.api.detector import Detector
from vision_lora.errors import AdapterError
from vision_lora.evaluate import main


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter, and four pictures whose labels are what it finds."""
    root = tmp_path_factory.mktemp("made")
    return label_what_is_found(root)


def words(made: Path, adapter: Path, *more: object) -> list[str]:
    given = ["--data", made / "data.yaml", "--model", "starter", "--adapter", adapter, "--device", "cpu", *more]
    return [str(word) for word in given]


def test_a_rule_is_kept_on_the_card_and_used(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(shutil.copy(made / "adapter.safetensors", tmp_path))
    out = ["--report", tmp_path / "report", "--json", tmp_path / "a.json", "--parts", "(p.)_."]
    assert main(words(made, file, "--threshold", "recall=1", "--save", *out)) == 0
    printed = capsys.readouterr().out
    assert "100.0% of the bad parts are found (2 of 2)" in printed
    assert "no good part among 2" in printed
    card = load_adapter(file).card
    assert card.rule == "recall=1 on val"
    assert 0 < min(card.thresholds.values()) < 0.25, "or the test shows nothing"
    assert json.loads((tmp_path / "a.json").read_text())["assessment"]["rule"] == "recall=1 on val"
    assert (tmp_path / "report" / "report.html").exists()

    detector = Detector.load("starter", adapter=file, device="cpu")
    pictures = str(made / "images" / "val")
    by_card, by_hand = (detector.predict(pictures, confidence=given, imgsz=SIDE) for given in (None, 0.25))
    assert sum(map(len, by_hand)) < sum(map(len, by_card))
    for result in by_card:
        limits = {name: card.thresholds.get(name, 0.25) for name in ("dent", "stain")}
        assert len(result)
        assert all(one.score >= limits[one.name] for one in result)


def test_other_classes_keep_their_thresholds(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "adapter.safetensors"
    save_adapter(
        load_adapter(made / "adapter.safetensors").with_thresholds({"dent": 0.5, "stain": 0.5}, "by hand"), file
    )
    kind = next(name for index, name in enumerate(("dent", "stain")) if f"\n{index} " in labels(made))
    assert main(words(made, file, "--classes", kind, "--threshold", "all:f1", "--save")) == 0
    card = load_adapter(file).card
    assert card.thresholds.keys() == {"dent", "stain"}
    assert [name for name, limit in card.thresholds.items() if limit == 0.5] == [
        {"dent": "stain", "stain": "dent"}[kind]
    ]
    assert card.rule == f"all:f1 on val for {kind}; others: by hand"


def labels(made: Path) -> str:
    return "\n" + "".join(file.read_text() for file in (made / "labels" / "val").iterdir())


def test_a_rule_that_cannot_be_reached_changes_nothing(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label that no detection is at: told with what is reached, behind the result."""
    root = Path(shutil.copytree(made, tmp_path / "data"))
    label = next((root / "labels" / "val").iterdir())
    label.write_text(label.read_text() + "0 0.02 0.02 0.01 0.01\n1 0.02 0.02 0.01 0.01\n")
    before = (root / "adapter.safetensors").read_bytes()
    assert main(words(root, root / "adapter.safetensors", "--threshold", "recall=0.99", "--save")) == 2
    told = capsys.readouterr()
    assert "mAP50-95" in told.out
    assert "recall 0.99 is not reached at any threshold: " in told.err
    assert told.err.count("\n") == 1 or "error: --threshold recall=0.99: " in told.err
    assert (root / "adapter.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--threshold", "recall=2"], "--threshold recall=2: expected f1"),
        (["--threshold", "f1", "--split", "test"], "expected --split val"),
        (["--save"], "--save True: expected --threshold RULE beside it"),
        (["--parts", "none.csv"], "none.csv: cannot be read"),
        (["--parts", "(x)"], "names the part of 0 of 4 pictures"),
    ],
)
def test_a_mistake_is_told_before_the_work(
    made: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vision_lora.detectors.load.load_detector", lambda *_: pytest.fail("it has begun"))
    assert main(words(made, made / "adapter.safetensors", *more)) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_card_takes_thresholds_of_its_classes_only(made: Path) -> None:
    adapter = load_adapter(made / "adapter.safetensors")
    assert adapter.card.thresholds == {}
    for thresholds in ({"pit": 0.5}, {"dent": 0}, {"dent": 1.5}, {"dent": "0.5"}, {"dent": float("nan")}):
        with pytest.raises(AdapterError, match="expected a number above 0, at most 1, of a class"):
            adapter.with_thresholds(thresholds, "f1 on val")  # type: ignore[arg-type]
    assert isinstance(adapter.with_thresholds({"dent": 0.5}, "f1 on val"), Adapter)
