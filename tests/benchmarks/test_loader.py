"""The loader benchmark runs all loaders and a training step over the same files and leaves the source as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.build import yolo
from vision_lora.benchmarks import loader as bench


@pytest.mark.slow
def test_rows_of_loaders_and_step(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data", ["0 0.5 0.5 0.5 0.5\n"] * 12)
    before = sorted(tmp_path.rglob("*"))
    options = [
        "--data",
        str(data),
        "--imgsz",
        "64",
        "--batch",
        "2",
        "--repeats",
        "1",
        "--workers",
        "0",
        "--model",
        "yolo11n.yaml",
    ]
    assert bench.main([*options, "--json", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["loader"].split(",")[0] for row in rows] == [
        "vision_lora",
        "ultralytics",
        "ultralytics",
        "training step",
    ]
    assert all(row["images_per_second"] > 0 for row in rows)
    assert rows[0]["ratio"] == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "out.json") == before


def test_too_few_pictures_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--data", str(yolo(tmp_path))]) == 2
    assert "2 training pictures; expected 64 or more" in capsys.readouterr().err
