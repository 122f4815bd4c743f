"""Joint training from the command line: old classes stay, a second set is learned on the first."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from tests.runs import options
from vision_lora.adapters.file import load_adapter
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_pictures
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.train import main as train


@pytest.fixture(scope="module")
def replay(shared: Path) -> Path:
    return shared / "datasets" / "coco128" / "images" / "train2017"


@pytest.fixture(scope="module")
def first(shared: Path, few: Path, replay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("joint") / "first"
    assert train([*options(shared, few, out, epochs=2, replay=replay), "--joint"]) == 0
    return out


def test_a_joint_run_leaves_a_joint_adapter_and_tells_its_distance(first: Path) -> None:
    adapter = load_adapter(first / "adapter.safetensors")
    assert adapter.joint
    assert len(adapter.card.names) == 6
    with (first / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["retain"]) > 0 for row in rows)


def test_a_larger_weight_keeps_the_old_classes_closer(shared: Path, few: Path, replay: Path, tmp_path: Path) -> None:
    samples = open_pictures(replay)[:8]
    pictures = next(iter(eval_loader(samples, 128, 8))).images
    moved = {}
    for weight in (0.0, 10.0):
        out = tmp_path / str(weight)
        given = options(shared, few, out, epochs=1, replay=replay, retain_weight=weight, draws=160, ema=0.5, lr=0.003)
        # With so few pictures the early layers would be left alone, and little would move at any weight.
        given += ["--placement", "all"]
        assert train([*given, "--joint"]) == 0
        detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
        detector.attach(load_adapter(out / "last.safetensors"))
        with torch.no_grad():
            _, distances = detector.retaining_losses(detector.prepare(pictures), None, None)
        moved[weight] = {name: value.item() for name, value in distances.items()}
    assert all(moved[10.0][name] < 0.7 * value for name, value in moved[0.0].items()), moved


def test_a_second_set_on_the_first(shared: Path, few: Path, first: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(few.read_text().replace("path: .", f"path: {few.parent}").replace("crazing", "cracking"))
    for name in ("inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches"):
        second.write_text(second.read_text().replace(name, f"second {name}"))
    out, before = tmp_path / "run", first / "adapter.safetensors"
    assert train([*options(shared, second, out, epochs=1, on=before), "--joint"]) == 0
    adapter = load_adapter(out / "adapter.safetensors")
    assert adapter.card.names[:6] == load_adapter(before).card.names
    assert adapter.card.names[6] == "cracking"
    assert json.loads((out / "summary.json").read_text())["map50_95"] >= 0
    assert adapter.card.rule == "f1 on val"
    assert (out / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--replay", "nowhere"], "--replay nowhere: expected --joint beside it"),
        (["--joint", "--replay", "nowhere"], "nowhere: no such folder"),
        (["--joint", "--method", "full", "--replay", "."], "--replay .: expected --method lora"),
        (["--joint", "--retain-weight", "-1"], "--retain-weight -1.0: expected 0 or more"),
        (["--on", "nothing.safetensors"], "no such adapter file"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, shared: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([*options(shared, few, tmp_path / "out"), *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_exact_and_joint_adapters_do_not_mix(
    shared: Path, few: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(shared, few, tmp_path / "out", on=first / "adapter.safetensors")
    assert train(given) == 2
    assert "a joint adapter; expected an exact one" in capsys.readouterr().err
    assert train([*given, "--joint"]) == 2  # the same classes again
    assert "each name once" in capsys.readouterr().err


def test_full_fine_tuning_with_the_old_rows(shared: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "full"
    assert train([*options(shared, few, out, epochs=1, method="full"), "--joint"]) == 0
    detector = YoloDetector.load(str(out / "best.pt"))
    assert len(detector.names) == 86
    assert detector.names[:2] == ("person", "bicycle")
    assert detector.names[80] == "crazing"
    assert json.loads((out / "summary.json").read_text())["map50_95"] >= 0
