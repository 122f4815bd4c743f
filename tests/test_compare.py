"""The comparison as a user runs it: real steel, real processes; killed, continued, refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.comparison.build import steel as tiny_steel
from tests.runs import options
from vision_lora.compare import main as compare
from vision_lora.comparison.cells.pool import Runner
from vision_lora.comparison.cells.process import main as cell
from vision_lora.comparison.trainers import ultralytics as outside
from vision_lora.detectors.load import load_base
from vision_lora.evaluate import main as evaluate

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.timeout(900)  # processes start slowly on a busy machine


@pytest.fixture(scope="module")
def steel(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small copy of NEU-DET, two pictures a class in each split."""
    source, root = shared / "datasets" / "neu-det", tmp_path_factory.mktemp("steel")
    for split in ("train", "val", "test"):
        pictures = sorted((source / "images" / split).iterdir())
        for picture in pictures[:: len(pictures) // 12][:12]:
            for kind, name in (("images", picture.name), ("labels", picture.with_suffix(".txt").name)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                shutil.copy(source / kind / split / name, root / kind / split / name)
    shutil.copy(source / "data.yaml", root / "data.yaml")
    return root / "data.yaml"


@pytest.fixture(scope="module")
def streets(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two everyday pictures with their COCO boxes."""
    source, root = shared / "datasets" / "coco128", tmp_path_factory.mktemp("streets")
    for picture in sorted((source / "images" / "val2017").iterdir())[:2]:
        for kind, name in (("images", picture.name), ("labels", picture.with_suffix(".txt").name)):
            (root / kind / "val").mkdir(parents=True, exist_ok=True)
            shutil.copy(source / kind / "val2017" / name, root / kind / "val" / name)
    lines = (source / "data.yaml").read_text().splitlines()
    names = lines[lines.index("names:") :]
    (root / "data.yaml").write_text("\n".join(["path: .", "val: images/val", *names]))
    return root / "data.yaml"


def words(shared: Path, steel: Path, out: Path, **more: object) -> list[str]:
    small = {"imgsz": 64, "epochs": 1, "seeds": "0", "lrs": "0.001", **more}
    return options(shared, steel, out, **small)


@pytest.fixture(scope="module")
def run(shared: Path, steel: Path, streets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An adapter, and Ultralytics' trainer."""
    out = tmp_path_factory.mktemp("runs") / "compare"
    given = words(shared, steel, out, methods="lora,ultralytics", retention=streets)
    before = {file: file.stat().st_mtime_ns for file in steel.parent.rglob("*")}
    assert compare(given) == 0
    assert {file: file.stat().st_mtime_ns for file in steel.parent.rglob("*")} == before  # no cache beside the labels
    return out, given


def test_the_result_holds_what_was_measured(run: tuple[Path, list[str]], shared: Path) -> None:
    out, _ = run
    result = json.loads((out / "compare.json").read_text())
    lora, outside = result["rows"]
    assert (lora["method"], outside["method"]) == ("lora", "ultralytics")
    assert (lora["lr"], outside["lr"]) == (0.001, None)
    for row in (lora, outside):
        assert row["images"] == 12
        assert 0 <= row["map50_95"][0] <= row["map50"][0] <= 1
        assert row["seconds_per_step"] > 0
        assert row["wall_seconds"] > 0
        assert row["peak_memory_mib"] > 100
        assert set(row["runs"][0]["per_class"]) == set(result["facts"]["names"])
        assert len(row["runs"][0]["curve"]) == 1
    assert lora["saved_mib"] > 0
    assert lora["trainable_parameters"] < 0.12 * lora["total_parameters"]
    assert outside["trainable_parameters"] > 0.95 * outside["total_parameters"]
    assert lora["bytes"] < 1_300_000 < outside["bytes"]
    gap = outside["map50_95"][0] - lora["map50_95"][0]
    assert outside["to_first"][0] == pytest.approx(gap)
    assert outside["to_first"][1] <= outside["to_first"][2]
    assert result["facts"]["scored"] == "test"
    assert str(shared) not in json.dumps(result)  # fit to be published


def test_exact_mode_keeps_the_bases_classes_to_the_bit(run: tuple[Path, list[str]]) -> None:
    result = json.loads((run[0] / "compare.json").read_text())
    lora, outside = result["rows"]
    assert result["base_kept"] > 0.1
    assert lora["kept"] == result["base_kept"]
    assert lora["identical"] is True
    assert outside["kept"] is None
    assert "lost" in (run[0] / "compare.md").read_text()


def test_the_score_is_that_of_the_verb_evaluate(
    run: tuple[Path, list[str]], shared: Path, steel: Path, tmp_path: Path
) -> None:
    out, _ = run
    model = str(shared / "weights" / "yolo11n.pt")
    (adapter,) = out.glob("cells/lora--*/train/adapter.safetensors")
    (checkpoint,) = out.glob("cells/ultralytics--*/train/weights/best.pt")
    result = json.loads((out / "compare.json").read_text())
    detectors = (["--model", model, "--adapter", str(adapter)], ["--model", str(checkpoint)])
    for row, named in zip(result["rows"], detectors, strict=True):
        given = [*named, "--data", str(steel), "--split", "test", "--imgsz", "64", "--batch", "8", "--device", "cpu"]
        assert evaluate([*given, "--json", str(tmp_path / "e.json")]) == 0
        assert json.loads((tmp_path / "e.json").read_text())["map50_95"] == pytest.approx(row["map50_95"][0], abs=2e-3)


def test_finished_runs_are_not_run_again(run: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    out, given = run
    before = {file: file.stat().st_mtime_ns for file in out.glob("cells/*/*")}
    capsys.readouterr()
    assert compare(given) == 0
    assert "2 runs, 2 of them finished by an earlier call" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in out.glob("cells/*/*")} == before


def test_a_changed_option_is_refused_in_a_line(run: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    _, given = run
    capsys.readouterr()
    assert compare([*given, "--epochs", "2"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "were made with epochs 1, now 2" in errors[0]


@pytest.mark.slow
def test_a_killed_grid_goes_on_where_it_stopped(shared: Path, steel: Path, tmp_path: Path) -> None:
    """kill -9 after the first of eight epochs: the cell dies with its grid, and its second call resumes."""
    out = tmp_path / "killed"
    given = words(shared, steel, out, methods="head", epochs=8)
    command = [sys.executable, "-m", "vision_lora.compare", *given]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    folder = out / "cells" / "head--all--lr0.001--seed0"
    deadline = time.monotonic() + 240
    while not (folder / "attempts.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (folder / "trained.json").exists()
    state = torch.load(folder / "train" / "state.pt", weights_only=True)
    assert 1 <= len(state["rows"]) < 8
    assert compare(given) == 0
    assert len(json.loads((folder / "attempts.json").read_text())["attempts"]) == 2
    rows = list(csv.DictReader((folder / "train" / "results.csv").open()))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 9)]
    for name, value in rows[0].items():
        assert float(value) == pytest.approx(state["rows"][0][name], rel=1e-5)  # the first attempt's own epoch


def ordered(folder: Path, shared: Path, steel: Path, method: str, **more: object) -> dict[str, object]:
    """Leave the order of a small cell in a new folder; gives its options."""
    chosen = {"data": str(steel), "model": str(shared / "weights" / "yolo11n.pt"), "epochs": 1, "imgsz": 64, "batch": 8}
    chosen |= {"draws": 0, "lr": 0.01, "workers": 0, "device": "cpu", "precision": "fp32"}
    order = {"method": method, "options": chosen, "scored": "test", "retention": None, "epochs_outside": 1, **more}
    chosen |= more.pop("options", {})  # type: ignore[call-overload]
    folder.mkdir()
    (folder / "order.json").write_text(json.dumps({**order, "options": chosen}))
    return chosen


def test_peft_trains_through_our_loop(shared: Path, steel: Path, tmp_path: Path) -> None:
    """Its checkpoint is a plain network of its own accuracy, its file holds what it trained."""
    pytest.importorskip("peft")
    folder = tmp_path / "cell"
    chosen = ordered(folder, shared, steel, "peft", options={"rank": 4, "ema": 0.0})
    assert cell([str(folder)]) == 0
    assert not (folder / "scored.json").exists()
    before = (folder / "trained.json").stat().st_mtime_ns
    assert cell([str(folder), "--score"]) == 0
    assert (folder / "trained.json").stat().st_mtime_ns == before
    trained = json.loads((folder / "trained.json").read_text())
    assert trained["map50_95"] == pytest.approx(trained["curve"][0], abs=2e-3)  # merged as it was in training
    assert trained["bytes"] == pytest.approx(4 * trained["trainable_parameters"], rel=0.2)
    assert trained["saved_mib"] > 0
    assert json.loads((folder / "scored.json").read_text())["general"] is None
    files = (str(chosen["model"]), str(folder / "train" / "best.pt"))
    base, best = (load_base(file, fold=False).network.state_dict() for file in files)
    same = {name for name, tensor in base.items() if torch.equal(tensor, best[name])}
    changed = base.keys() - same
    assert changed
    assert not any(".bn." in name for name in changed)


def test_a_joint_adapter_is_measured_by_its_only_pass(shared: Path, steel: Path, streets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    chosen = {"method": "lora", "joint": True, "replay": str(streets.parent / "images"), "lr": 1e-5}
    ordered(folder, shared, steel, "lora", options=chosen, retention=str(streets))
    assert cell([str(folder), "--score"]) == 0
    general = json.loads((folder / "scored.json").read_text())["general"]
    assert general["base"] > 0.1
    assert general["kept"] == pytest.approx(general["base"], abs=0.2)  # hardly trained
    assert general["identical"] is False  # exact mode would be
    assert json.loads((folder / "trained.json").read_text())["adapter"] is True


def test_ultralytics_goes_on_after_an_interruption(
    shared: Path, steel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cell"
    ordered(folder, shared, steel, "ultralytics", epochs_outside=2)
    keep = outside._Watch._epoch_is_kept

    def interrupt(self: outside._Watch, trainer: object) -> None:
        keep(self, trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outside._Watch, "_epoch_is_kept", interrupt)
        assert cell([str(folder)]) == 130
    first = (folder / "train" / "results.csv").read_text().splitlines()
    assert len(first) == 2  # the head, and an epoch
    assert cell([str(folder)]) == 0
    assert (folder / "train" / "results.csv").read_text().splitlines()[:2] == first
    trained = json.loads((folder / "trained.json").read_text())
    assert (trained["epochs"], len(trained["curve"])) == (2, 2)
    arguments = (folder / "train" / "args.yaml").read_text()
    assert "optimizer: AdamW" in arguments
    assert "lr0: 0.01\n" in arguments
    assert not (folder / "data").exists()  # its copy of the pictures
    assert not (folder / "start.pt").exists()
    attempts = json.loads((folder / "attempts.json").read_text())["attempts"]
    assert trained["wall_seconds"] == pytest.approx(sum(attempts))
    assert len(attempts) == 3  # two of training, and our measurement


def test_ultralytics_gets_no_stranger_s_file(
    shared: Path, steel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own reader would run what is in it; ours refuses it, and what it lets pass is written anew."""
    monkeypatch.chdir(tmp_path)
    network = torch.load(shared / "weights" / "yolo11n.pt", weights_only=False)["model"]
    torch.save({"model": network, "optimizer": Code()}, "evil.pt")
    ordered(tmp_path / "cell", shared, steel, "ultralytics", options={"model": "evil.pt"})
    assert cell([str(tmp_path / "cell")]) == 2
    assert not Path("executed").exists()


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_a_model_that_is_none_is_a_line(
    shared: Path, steel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare([*words(shared, steel, tmp_path / "out"), "--model", str(steel)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path) == []


def small(tmp_path: Path) -> list[str]:
    """A comparison without any of the shared data."""
    data = tiny_steel(tmp_path / "steel")
    given = {"data": data, "model": "yolo11n.yaml", "methods": "lora,full", "lrs": "0.001", "seeds": "0", "imgsz": 64}
    given |= {"device": "cpu", "precision": "fp32", "out": tmp_path / "out"}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def test_runs_that_fail_are_told_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Runner, "_one", lambda self, cell, score: f"out of memory in {cell.method.text}")
    assert compare(small(tmp_path)) == 1
    told = capsys.readouterr().out
    assert "1/2" in told
    assert "failed: out of memory in lora; all it said: " in told
    assert "failed: full, all, learning rate 0.001, seed 0: out of memory in full; the same command tries it" in told
    report = (tmp_path / "out" / "compare.md").read_text()
    assert "No run is finished" in report
    assert "- lora, all, learning rate 0.001, seed 0: out of memory in lora" in report


def test_an_interrupted_comparison_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: Runner, cells: object, finished: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", interrupt)
    assert compare(small(tmp_path)) == 130
    errors = capsys.readouterr().err.splitlines()
    assert errors == [f"interrupted: finished runs are kept in {tmp_path / 'out'}; the same command goes on"]
