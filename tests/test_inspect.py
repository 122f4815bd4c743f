"""The verb that looks into an adapter file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.adapters import build
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import save_adapter
from vision_lora.adapters.weights.deltas import NewRows
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.inspect import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    adapter = build.adapter(build.network())
    card = replace(adapter.card, metrics={"map50": 0.12345, "evil\x1b[2J": "\x1b[2J", "epochs": 3}, version="0.1.0")
    save_adapter(Adapter(adapter.deltas, card), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_header_and_bars(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert "base         small.pt (small)" in printed
    assert "classes      3: scratch, dent, rolled-in scale" in printed
    assert "pass         exact" in printed
    assert r'metrics      map50 0.1235, evil\u001b[2J "\u001b[2J", epochs 3' in printed
    assert "written      2026-01-02T03:04:05+00:00 by vision_lora 0.1.0" in printed
    assert "\x1b" not in printed
    rows = {line.split()[0]: line for line in printed.splitlines() if "█" in line}
    assert list(rows) == ["body.0", "body.2", "body.3", "body.5", "body.6", "mix", "classify"]
    assert re.search(r"mix +lora r2 +80 +[\d.]+ +█", rows["mix"])
    assert max(line.count("█") for line in rows.values()) == 24
    assert "--model BASE" in printed


def test_against_its_base(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = shared / "weights" / "yolo11n.pt"
    detector = YoloDetector.load(str(base))
    adapter = new_adapter(detector, ["scratch"], joint=True)
    delta = adapter.deltas["model.1.conv"]
    torch.nn.init.constant_(delta.get_parameter("gain"), 0.25)  # a quarter more of every weight
    save_adapter(adapter, tmp_path / "a.safetensors")

    assert main([str(tmp_path / "a.safetensors"), "--model", str(base)]) == 0
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if line.startswith(" model.")}
    assert re.search(r"lora r8 +[\d,]+ +25\.0% +█{24}", lines["model.1.conv"])
    assert re.search(r"lora r8 +[\d,]+ +0\.0%", lines["model.3.conv"])
    assert "new rows" in lines["model.23.cv3.0.2"]
    assert "pass         joint" in printed
    assert f"the adapter fits {base}" in printed


def test_another_base_is_an_error_behind_the_header(
    file: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(file), "--model", str(shared / "weights" / "yolov8n.pt")]) == 2
    captured = capsys.readouterr()
    assert "classes      3: scratch" in captured.out
    assert captured.err.startswith("error: the adapter was made for base small.pt")
    assert captured.err.count("\n") == 1


def test_a_file_with_nothing_but_rows(shared: Path, tmp_path: Path) -> None:
    base = shared / "weights" / "yolo11n.pt"
    adapter = new_adapter(YoloDetector.load(str(base)), ["scratch"])
    rows = {site: delta for site, delta in adapter.deltas.items() if isinstance(delta, NewRows)}
    save_adapter(Adapter(rows, adapter.card), tmp_path / "a.safetensors")
    assert main([str(tmp_path / "a.safetensors")]) == 0
    assert main([str(tmp_path / "a.safetensors"), "--model", str(base)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no file given; expected an adapter"),
        (["none.safetensors"], "none.safetensors: no such adapter file"),
        (["broken.safetensors"], "broken.safetensors: truncated or no safetensors file"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.safetensors").write_bytes(b"abc")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
