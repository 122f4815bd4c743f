"""What a run writes: half as large where that changes no score, and what is reported is of that file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.adapters import build
from tests.training import tiny
from vision_lora.adapters.file import load_adapter, precision_of
from vision_lora.api.detector import Detector
from vision_lora.inspect import main as inspect
from vision_lora.training import outcome

pytestmark = pytest.mark.usefixtures("without_plots")


def test_a_file_is_half_as_large_and_what_is_reported_is_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outcome, "NOTHING", 1.0)  # an adapter that has learned nothing yet is restless
    dataset = tiny.data(tmp_path / "data")
    run = tiny.run(tiny.options(dataset, tmp_path / "run", epochs=2, lr=0.02))
    file = run.result
    assert (precision_of(file), precision_of(run.out / "last.safetensors")) == ("fp16", "fp32")
    tensors = sum(tensor.numel() for tensor in load_adapter(file).state_dict().values())
    assert file.stat().st_size < 2 * tensors + 30_000
    assert run.adapter_bytes == file.stat().st_size
    detector = Detector.load("starter", adapter=file, device="cpu")
    again = detector.evaluate(dataset, imgsz=64)
    assert (again.map50_95, again.map50) == (run.val.map50_95, run.val.map50)
    assert load_adapter(file).card.metrics["map50_95"] == run.val.map50_95
    assert inspect([str(file)]) == 0
    assert "class rows (fp16)" in capsys.readouterr().out


def test_an_adapter_whose_score_would_change_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outcome, "NOTHING", -1.0)
    run = tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", epochs=1))
    assert precision_of(run.result) == "fp32"
    one, other = (load_adapter(run.out / name).state_dict() for name in ("adapter.safetensors", "last.safetensors"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    (told,) = [record.message for record in caplog.records if "fp32" in record.message]
    assert told.startswith(f"{run.result}: written in fp32, twice as large: in fp16 its mAP on val would change by 0.")


def test_numbers_that_fp16_does_not_hold_are_seen() -> None:
    made = build.adapter(build.network())
    assert made.rounded().finite
    assert not torch.equal(made.rounded().state_dict()["_deltas.mix.up"], made.state_dict()["_deltas.mix.up"])
    torch.nn.init.constant_(made.deltas["mix"].get_parameter("gain"), 1e5)
    assert made.finite
    assert not made.rounded().finite
