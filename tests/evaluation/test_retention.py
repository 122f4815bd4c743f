"""What is left of the general classes, told object by object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vision_lora.adapters.file import save_adapter
from vision_lora.datasets.sample import Sample
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.evaluation.retention import Lost, compare
from vision_lora.pictures.detections import Detections
from vision_lora.retention import main as retention

NAMES = ("cat", "dog")
BOXES = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)


def found(*rows: tuple[int, int, float]) -> Detections:
    """Detections that are ground-truth boxes: (which box, class, score)."""
    return Detections(
        BOXES[[row[0] for row in rows]],
        np.array([row[2] for row in rows], np.float32),
        np.array([row[1] for row in rows], np.int64),
        NAMES,
        2,
    )


def test_lost_and_gained_objects() -> None:
    sample = Sample(Path("a.jpg"), 50, 50, BOXES, np.array([0, 1]))
    before = found((0, 0, 0.9), (1, 0, 0.8))  # the cat; the dog is taken for a cat
    after = found((1, 1, 0.9), (0, 0, 0.2))  # the dog; the cat is no longer shown
    kept = compare([before], [after], [sample], NAMES)
    assert (kept.lost, kept.gained, kept.identical) == ([Lost(0, 0)], 1, False)
    assert kept.per_class["dog"] == pytest.approx(1)
    assert kept.change == pytest.approx(kept.result.map50_95 - 0.5)
    same = compare([before], [before], [sample], NAMES)
    assert (same.lost, same.gained, same.identical, same.change) == ([], 0, True, 0)


def test_exact_keeps_everything_and_a_changed_joint_pass_does_not(shared: Path, tmp_path: Path) -> None:
    model, data = str(shared / "weights" / "yolo11n.pt"), shared / "datasets" / "coco128"
    detector = YoloDetector.load(model)
    adapter = new_adapter(detector, ["dent"], joint=True)
    torch.manual_seed(0)
    with torch.no_grad():
        for delta in adapter.deltas.values():
            if hasattr(delta, "gain"):
                delta.gain.normal_(std=0.05)
    save_adapter(adapter, tmp_path / "joint.safetensors")
    out = tmp_path / "out"
    words = [
        "--data",
        data,
        "--model",
        model,
        "--adapter",
        tmp_path / "joint.safetensors",
        "--imgsz",
        160,
        "--out",
        out,
    ]
    assert retention([*map(str, words), "--device", "cpu"]) == 0
    rows = json.loads((out / "retention.json").read_text())["rows"]
    assert rows["exact"]["identical"]
    assert rows["exact"]["change"] == 0
    assert not rows["joint"]["identical"]
    assert rows["joint"]["lost"]
    assert rows["joint"]["change"] < -0.01
    assert (out / "lost_joint.jpg").stat().st_size > 1000
    assert not (out / "lost_exact.jpg").exists()


def test_a_dataset_of_other_classes_is_told(shared: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, data = shared / "weights" / "yolo11n.pt", shared / "datasets" / "neu-det"
    words = ["--data", data, "--model", model, "--tuned", model, "--out", tmp_path / "out"]
    assert retention(list(map(str, words))) == 2
    assert "none of the dataset's classes ('crazing', " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
