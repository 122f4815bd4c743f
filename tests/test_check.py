"""Where `check` writes: asked before the work, and never in place of the data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.build import picture
from tests.evaluation.adapter import label_what_is_found
from vision_lora.api.detector import Detector
from vision_lora.check import main


def dataset(root: Path) -> Path:
    """Two pictures in YOLO's form, one of a name that is no UTF-8."""
    for name in ("a", os.fsdecode(b"Kratzer_\xfc")):
        picture(root / "images" / "train" / f"{name}.png")
        label = root / "labels" / "train" / f"{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.25 0.25\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [dent]\n")
    return root


@pytest.mark.parametrize(
    ("option", "place", "message"),
    [
        ("preview", "data/images/train/a.png", "would be lost"),
        ("preview", "a.gif", "ends in .png or .jpg"),
        ("html", "data/images/train/a.png", "ends in .html"),
        ("json", "data/data.yaml", "ends in .json"),
        ("json", "folder.json", "expected a file"),
        ("html", "x" * 256 + ".html", "File name too long"),
        ("fix", "data", "already holds something"),
        ("fix", "data/data.yaml/new", "Not a directory"),
    ],
)
def test_a_wrong_place_is_told_before_the_work(
    tmp_path: Path,
    option: str,
    place: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = dataset(tmp_path / "data")
    (tmp_path / "folder.json").mkdir()
    before = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    monkeypatch.setattr(
        "vision_lora.datasets.checking.check.check_dataset", lambda *_, **__: pytest.fail("it has begun")
    )
    assert main(["--data", str(data), f"--{option}", str(tmp_path / place), "--imgsz", "64"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --{option} ")
    assert message in error
    assert {file: file.read_bytes() for file in data.rglob("*") if file.is_file()} == before


def test_names_that_are_no_utf8_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = dataset(tmp_path / "data")
    (data / "images" / "train" / os.fsdecode(b"kaputt_\xfc.png")).write_bytes(b"x")
    new = tmp_path / "new"
    words = ["--html", new / "a.html", "--json", new / "a.json", "--fix", new / "fix"]
    assert main(["--data", str(data), "--imgsz", "64", *map(str, words)]) in (0, 1)
    assert "kaputt_\\udcfc.png" in capsys.readouterr().out
    assert "kaputt_\\udcfc.png" in (new / "a.html").read_text("utf-8")
    assert os.fsdecode(b"kaputt_\xfc.png") in json.dumps(json.loads((new / "a.json").read_text()), ensure_ascii=False)
    assert "kaputt_\\udcfc.png" in (new / "fix" / "changes.txt").read_text("utf-8")
    assert (new / "fix" / "images" / "train" / os.fsdecode(b"Kratzer_\xfc.png")).exists()


def test_labels_that_an_adapter_doubts_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of pictures that are labelled as it finds them, that which it is surest of has lost its label since."""
    root = label_what_is_found(tmp_path / "data", 12)
    detector = Detector.load("starter", adapter=root / "adapter.safetensors", device="cpu")
    results = detector.predict(root / "images" / "val", confidence=0.001)
    surest = max(results, key=lambda result: result.scores.max())
    label = root / "labels" / "val" / f"{Path(surest.name).stem}.txt"
    label.write_text("")
    words = ["--data", root / "data.yaml", "--adapter", root / "adapter.safetensors", "--model", "starter"]
    out = ["--device", "cpu", "--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
    assert main([str(word) for word in (*words, *out)]) in (0, 1)
    assert "note doubted: the adapter doubts" in " ".join(capsys.readouterr().out.split())
    (found,) = (one for one in json.loads((tmp_path / "a.json").read_text())["findings"] if one["kind"] == "doubted")
    assert any(f"{label.stem}.png: no label: " in place for place in found["where"])
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "Labels to look at" in page
    assert f">{label.stem}.png</a>" in page


def test_an_adapter_of_other_classes_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vision_lora.datasets.checking.check.check_dataset", lambda *_, **__: pytest.fail("it has begun")
    )
    root = label_what_is_found(tmp_path / "data")
    (root / "data.yaml").write_text("train: images/val\nval: images/val\nnames: [pit, crack]\n")
    words = ["--data", root / "data.yaml", "--adapter", root / "adapter.safetensors", "--model", "starter"]
    assert main([*map(str, words), "--device", "cpu"]) == 2
    assert "none of the dataset's classes" in capsys.readouterr().err


def test_a_base_without_an_adapter_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(dataset(tmp_path / "data")), "--model", "starter"]) == 2
    assert "--model starter: expected --adapter FILE beside it" in capsys.readouterr().err
