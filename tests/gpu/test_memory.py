"""Memory of a GPU: two small steps tell what a large one takes, --batch auto uses it, what cannot fit is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.datasets.build import yolo
from vision_lora.options.train import TrainConfig
from vision_lora.train import main as train
from vision_lora.training.choices import batch_size
from vision_lora.training.choices.batch_size import measured
from vision_lora.training.job import open_data


def dataset(folder: Path) -> str:
    return str(yolo(folder / "data", [f"{i % 3} 0.5 0.5 0.{i % 5 + 2} 0.5\n" for i in range(8)], val="images/train"))


@pytest.mark.parametrize("more", [{}, {"joint": True}, {"method": "full"}, {"graphs": "off"}], ids=str)
def test_the_line_through_two_steps_holds(
    more: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"data": dataset(tmp_path), "imgsz": 320, "device": "cuda", "batch": "auto", **more}
    data = open_data(TrainConfig(**given))  # type: ignore[arg-type]
    peak = partial(batch_size._cuda_peak, torch.device("cuda", 0))
    memory = measured(data, peak)
    monkeypatch.setattr(batch_size, "COUNTS", (48, 64))
    larger = measured(data, peak)
    assert memory.bytes(64) == pytest.approx(larger.bytes(64), rel=0.15)


@pytest.mark.parametrize("words", [(), ("--joint",), ("--method", "full"), ("--variant", "lora-fa")], ids=" ".join)
def test_auto_is_chosen_told_and_trains(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = ["--data", dataset(tmp_path), "--out", str(out), "--device", "cuda", "--imgsz", "320", "--workers", "0"]
    assert train([*options, "--batch", "auto", "--epochs", "1", "--draws", "1000", *words]) == 0
    assert "batch    32 pictures a step (1000 pictures an epoch make 31 steps)" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["batch"], summary["steps"]) == (32, 32)


def test_a_batch_that_cannot_fit_is_refused_with_one_that_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", dataset(tmp_path), "--out", str(tmp_path / "run"), "--device", "cuda", "--imgsz", "1280"]
    assert train([*words, "--batch", "4096", "--workers", "0"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "--batch 4096: a step of so many pictures of 1280 px takes about" in err
    assert "expected at most" in err
    assert not (tmp_path / "run").exists()
