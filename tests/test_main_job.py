"""The main job as a user does it: train on real steel, evaluate, predict; mistakes, interruption and resumption."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from tests import runs
from tests.datasets.build import yolo
from vision_lora.adapters.adapter import fingerprint
from vision_lora.adapters.file import load_adapter
from vision_lora.compare import main as compare
from vision_lora.detectors.load import load_base
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.evaluate import main as evaluate
from vision_lora.options.placement import placement_for
from vision_lora.predict import main as predict
from vision_lora.rendering import write as demo
from vision_lora.train import Terminal
from vision_lora.train import main as train

options = partial(runs.options, threads=2)  # equal runs: whatever cores other programs leave


@pytest.fixture(scope="module")
def run(shared: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "train"
    assert train(options(shared, few, out, lr=0.005)) == 0
    return out


def test_a_run_leaves_everything_a_user_needs(run: Path) -> None:
    assert {file.name for file in run.iterdir()} == {
        "adapter.safetensors",
        "last.safetensors",
        "config.json",
        "summary.json",
        "results.csv",
        "curves.png",
        "plan.txt",
        "predictions.png",
        "report",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["split"] == "val"
    assert summary["epochs"] == 2
    assert set(summary["per_class"]) == set(summary["names"])
    assert 0 <= summary["map50_95"] <= summary["map50"] <= 1
    assert summary["trainable_parameters"] <= 0.12 * summary["total_parameters"]
    assert summary["trainable_parameters"] == sum(summary["parameters_by_part"].values())
    assert summary["adapter_bytes"] == (run / "adapter.safetensors").stat().st_size <= 620_000
    assert summary["seconds_per_step"] > 0
    assert summary["peak_memory_mib"] > 100
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["box"]) > 0


def test_few_pictures_leave_the_early_layers_alone(run: Path, shared: Path, few: Path, tmp_path: Path) -> None:
    assert "model.2.cv1.conv" not in load_adapter(run / "adapter.safetensors").deltas
    assert train(options(shared, few, tmp_path / "run", epochs=1, placement="all")) == 0
    assert "model.2.cv1.conv" in load_adapter(tmp_path / "run" / "adapter.safetensors").deltas
    assert (placement_for(99), placement_for(100)) == ("deep", "all")


def test_the_card_names_base_classes_and_result(run: Path, shared: Path) -> None:
    card = load_adapter(run / "adapter.safetensors").card
    summary = json.loads((run / "summary.json").read_text())
    assert card.base == "yolo11n.pt"
    assert card.fingerprint == summary["base_fingerprint"]
    assert card.imgsz == 128
    assert list(card.names) == summary["names"]
    assert card.metrics["map50_95"] == summary["map50_95"]
    assert card.created
    assert card.version


def test_base_plus_file_is_the_trained_model_in_a_fresh_process(
    run: Path, shared: Path, few: Path, tmp_path: Path
) -> None:
    result = tmp_path / "val.json"
    words = ["--adapter", run / "adapter.safetensors", "--model", shared / "weights" / "yolo11n.pt", "--data", few]
    command = [sys.executable, "-m", "vision_lora.evaluate", *map(str, words), "--json", str(result), "--device", "cpu"]
    subprocess.run([*command, "--batch", "8"], check=True, cwd=Path(__file__).parents[1], capture_output=True)
    again, summary = json.loads(result.read_text()), json.loads((run / "summary.json").read_text())
    for key in ("map50_95", "map50", "map75", "per_class", "small", "medium", "large"):
        assert again[key] == summary[key]


def test_training_leaves_the_checkpoint_alone(run: Path, shared: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
    detector.attach(load_adapter(run / "adapter.safetensors"))
    assert fingerprint(detector.network.state_dict()) == summary["base_fingerprint"]


def test_predict_writes_pictures_and_coco_results(run: Path, shared: Path, few: Path, tmp_path: Path) -> None:
    words = ["--adapter", run / "adapter.safetensors", "--model", shared / "weights" / "yolo11n.pt", "--device", "cpu"]
    words += ["--source", few.parent / "images" / "test", "--confidence", "0.01", "--json", tmp_path / "found.json"]
    assert predict([*map(str, words), "--out", str(tmp_path / "out")]) == 0
    names = {file.name for file in (few.parent / "images" / "test").iterdir()}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    rows = json.loads((tmp_path / "found.json").read_text())
    assert rows
    assert {row["file_name"] for row in rows} <= names
    for row in rows:
        assert row["source"] in ("general", "defects")
        x, y, width, height = row["bbox"]
        assert 0 <= x <= x + width <= 200.01
        assert 0 <= y <= y + height <= 200.01
        assert 0.01 <= row["score"] <= 1


def test_full_fine_tuning_runs_through_the_same_loop(shared: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "full"
    assert train(options(shared, few, out, method="full", epochs=1)) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["trainable_parameters"] > 0.95 * summary["total_parameters"]
    words = ["--model", out / "best.pt", "--data", few, "--imgsz", "128", "--batch", "8", "--json", tmp_path / "e.json"]
    assert evaluate([*map(str, words), "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["map50_95"] == summary["map50_95"]


@pytest.mark.parametrize(("method", "trained"), [("freeze", range(11, 24)), ("head", range(23, 24))])
def test_cheaper_methods_leave_the_other_layers_as_they_were(
    shared: Path, few: Path, tmp_path: Path, method: str, trained: range
) -> None:
    out, model = tmp_path / method, str(shared / "weights" / "yolo11n.pt")
    assert train(options(shared, few, out, method=method, epochs=1)) == 0
    before, after = (YoloDetector.load(path, fold=False).network.state_dict() for path in (model, str(out / "best.pt")))
    changed = {int(name.split(".")[1]) for name in before if not torch.equal(before[name], after[name])}
    assert changed == {layer for layer in trained if any(name.startswith(f"model.{layer}.") for name in before)}


def test_a_small_set_is_drawn_several_times(shared: Path, few: Path, tmp_path: Path) -> None:
    assert train(options(shared, few, tmp_path / "run", epochs=1, draws=40, batch=4, workers=0)) == 0
    state = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert state["steps"] == 10


def test_same_seed_same_adapter(run: Path, shared: Path, few: Path, tmp_path: Path) -> None:
    assert train(options(shared, few, tmp_path / "again", lr=0.005)) == 0
    first, second = (load_adapter(out / "adapter.safetensors").state_dict() for out in (run, tmp_path / "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_interrupted_run_saves_the_last_weights_and_goes_on(shared: Path, few: Path, tmp_path: Path) -> None:
    """Ctrl-C in the second epoch, then --resume."""
    out = tmp_path / "cut"
    command = [sys.executable, "-m", "vision_lora.train", *options(shared, few, out, lr=0.005)]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 240
    while not (out / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1].startswith("interrupted: last weights are in ")
    assert f"--resume {out}" in errors
    load_adapter(out / "last.safetensors")
    assert train(["--resume", str(out)]) == 0
    assert not (out / "state.pt").exists()
    assert len(list(csv.DictReader((out / "results.csv").open()))) == 2


def test_a_resumed_run_ends_with_the_same_adapter(
    run: Path, shared: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "validated", interrupt)
        assert train(options(shared, few, out, lr=0.005)) == 130
    assert train(["--resume", str(out)]) == 0
    first, second = (load_adapter(folder / "last.safetensors").state_dict() for folder in (run, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_is_gone_on_from_by_the_same_command_alone(
    shared: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--exist-ok` over a run that was cut off: other options start anew, in the same folder."""
    out = tmp_path / "cut"
    told: list[int] = []
    validated = Terminal.validated

    def interrupt(self: Terminal, row: dict[str, float], *, best: bool) -> None:
        told.append(int(row["epoch"]))
        validated(self, row, best=best)
        if len(told) < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Terminal, "validated", interrupt)
    command = options(shared, few, out, epochs=2)
    assert train(command) == 130
    assert train([*command, "--exist-ok", "--lr", "0.002"]) == 130
    assert train([*command, "--exist-ok", "--lr", "0.002"]) == 0
    assert told == [1, 1, 2]
    assert not (out / "state.pt").exists()


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each run is interrupted after one epoch; gives the epochs that were trained."""
    told: list[int] = []

    def interrupt(_: Terminal, row: dict[str, float], **__: object) -> None:
        told.append(int(row["epoch"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(Terminal, "validated", interrupt)
    return told


def test_the_same_command_with_exist_ok_added_loses_no_epoch(
    shared: Path, few: Path, tmp_path: Path, cut_off: list[int]
) -> None:
    out = tmp_path / "cut"
    command = options(shared, few, out, epochs=3)
    assert train(command) == 130
    assert train([*command, "--exist-ok"]) == 130
    assert cut_off == [1, 2]


def test_a_resumed_run_of_an_older_version_loses_no_epoch(
    shared: Path, few: Path, tmp_path: Path, cut_off: list[int]
) -> None:
    """Its options lack one that has come since."""
    out = tmp_path / "cut"
    assert train(options(shared, few, out, epochs=3)) == 130
    written = json.loads((out / "config.json").read_text())
    del written["grow"]
    (out / "config.json").write_text(json.dumps(written))
    assert train(["--resume", str(out)]) == 130
    assert cut_off == [1, 2]


def test_one_split_is_divided_and_tiles_are_cut(shared: Path, few: Path, tmp_path: Path) -> None:
    """A dataset with a train split only, trained on tiles of half a picture."""
    root = shutil.copytree(few.parent, tmp_path / "data")
    names = yaml.safe_load((root / "data.yaml").read_text())["names"]
    (root / "one.yaml").write_text(yaml.safe_dump({"path": ".", "train": "images/train", "names": names}))
    out = tmp_path / "out"
    assert train(options(shared, root / "one.yaml", out, epochs=1, tile=112, overlap=0.1)) == 0
    images = json.loads((out / "summary.json").read_text())["images"]
    assert images["train"] + images["val"] == 24 * 4
    assert 8 <= images["val"] <= 32


def _mistake(words: list[str], verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert {"train": train, "evaluate": evaluate, "predict": predict}[verb](words) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1, errors
    return errors[0]


def test_mistakes_before_training_write_nothing(
    shared: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "train"
    no_names = tmp_path / "no_names.yaml"
    no_names.write_text(f"path: {few.parent}\ntrain: images/train\nval: images/val\n")
    no_val = tmp_path / "no_val.yaml"
    no_val.write_text(yaml.safe_dump({"path": str(few.parent), "train": "images/train", "names": ["a"] * 1}))
    cases: list[tuple[dict[str, object], str]] = [
        ({"data": tmp_path / "gone.yaml"}, "gone.yaml: no such file"),
        ({"data": no_names}, "names"),
        ({"model": tmp_path / "gone.pt"}, "no such checkpoint"),
        ({"model": few}, "no architecture of a detector"),
        ({"augment": "glitter"}, "glitter"),
        ({"device": "cuda:77"}, "--device cuda:77"),
        ({"rank": 0}, "--rank 0"),
        ({"resume": tmp_path}, "no interrupted run there"),
    ]
    for changed, message in cases:
        line = _mistake(options(shared, few, out, **changed), "train", capsys)
        assert any(part in line for part in message.split("|")), line
    assert not out.parent.exists()


def test_broken_labels_and_pictures_are_named_or_stop_the_run(
    shared: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(few.parent, tmp_path / "data")
    labels = sorted((root / "labels" / "train").iterdir())
    labels[0].write_text(labels[0].read_text() + "9 0.5 0.5 0.1 0.1\n")
    labels[1].write_text(labels[1].read_text() + "0 nan 0.5 0.1 0.1\n0 0.5 0.5 -0.1 0.1\n")
    pictures = sorted((root / "images" / "train").iterdir())
    pictures[5].write_bytes(pictures[5].read_bytes()[:1500])
    held_out = sorted((root / "images" / "val").iterdir())[0]
    held_out.write_bytes(held_out.read_bytes()[:1500])
    data = root / "data.yaml"
    line = _mistake([*options(shared, data, tmp_path / "strict"), "--strict"], "train", capsys)
    assert labels[0].name in line
    assert not (tmp_path / "strict").exists()
    assert train(options(shared, data, tmp_path / "lenient", epochs=1)) == 0
    skipped = json.loads((tmp_path / "lenient" / "summary.json").read_text())["skipped"]
    text = "\n".join(skipped)
    for name in (labels[0].name, labels[1].name, pictures[5].name, held_out.name):
        assert name in text
    assert "skipped" in capsys.readouterr().out


def test_evaluate_refuses_classes_that_nobody_learned(
    shared: Path, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(shared / "weights" / "yolo11n.pt"), "--data", str(few)]
    assert "none of the dataset's classes ('crazing'" in _mistake(words, "evaluate", capsys)


def test_predict_names_what_it_cannot_read(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(shared / "weights" / "yolo11n.pt"), "--out", str(tmp_path / "out")]
    assert "no such file or folder" in _mistake(["--source", str(tmp_path / "gone"), *model], "predict", capsys)
    assert "no picture and no video" in _mistake(["--source", str(tmp_path), *model], "predict", capsys)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    assert "cut.jpg" in _mistake(["--source", str(tmp_path / "cut.jpg"), *model], "predict", capsys)


def test_missing_demo_data_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(demo, "write_pictures", drawn.append)
    monkeypatch.chdir(tmp_path)
    assert train(["--data", "data/demo/defects.yaml", "--device", "cpu"]) == 2  # nothing was drawn, so nothing is there
    assert train(["--data", "data/other/defects.yaml", "--device", "cpu"]) == 2
    assert compare(["--data", "data/demo/defects.yaml", "--device", "cpu"]) == 2
    assert drawn == [Path("data/demo")] * 2


def _quick(data: Path, out: Path, **more: object) -> list[str]:
    """A run of one epoch on the base that ships with the package."""
    given = {"data": data, "out": out, "epochs": 1, "imgsz": 64, "batch": 4, "draws": 0, "workers": 0, **more}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def test_the_main_job_needs_nothing_but_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = yolo(tmp_path, [f"{index % 3} 0.5 0.5 0.5 0.5\n" for index in range(8)])
    assert train(_quick(data, tmp_path / "run", grow=0.5, classes="scratch,stain")) == 0
    adapter = tmp_path / "run" / "adapter.safetensors"
    printed = capsys.readouterr().out
    assert f"next: python -m vision_lora.predict --model starter --adapter {adapter}" in printed.replace("\n", "")
    card = load_adapter(adapter).card
    assert (card.base, card.names, card.imgsz) == ("starter", ("scratch", "stain"), 64)
    words = ["--adapter", str(adapter), "--data", str(data), "--split", "train", "--classes", "scratch,stain"]
    assert evaluate([*words, "--json", str(tmp_path / "e.json")]) == 0
    assert set(json.loads((tmp_path / "e.json").read_text())["per_class"]) == {"scratch", "stain"}
    assert predict(["--adapter", str(adapter), "--source", str(data.parent), "--out", str(tmp_path / "seen")]) == 0


def test_pictures_own_size_is_taken_where_none_is_given(tmp_path: Path) -> None:
    data = yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n"] * 4)
    assert train(_quick(data, tmp_path / "run", imgsz=0)) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["imgsz"] == 320


def test_a_detector_s_own_classes_are_trained_further_not_anew(tmp_path: Path) -> None:
    starter = load_base("starter", fold=False)
    names = "[" + ", ".join(starter.names) + "]"
    data = yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n"] * 4, names=names)
    assert train(_quick(data, tmp_path / "run", method="full", lr=1e-9, ema=0)) == 0
    after = YoloDetector.load(str(tmp_path / "run" / "best.pt"), fold=False).network.state_dict()
    for layer in starter.class_layers():
        torch.testing.assert_close(after[f"{layer}.weight"], starter.network.state_dict()[f"{layer}.weight"])
