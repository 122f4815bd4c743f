"""Which cells there are, which are left, and which options a folder refuses; nothing is trained here."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tests.comparison.build import steel
from tests.datasets.build import yolo
from vision_lora.comparison.cells.cell import Cell, Order, Trained
from vision_lora.comparison.cells.pool import Runner
from vision_lora.comparison.cells.process import load_detections, save_detections
from vision_lora.comparison.cells.stopwatch import Clock
from vision_lora.comparison.grid import plan_grid, run_grid
from vision_lora.comparison.report.result import command
from vision_lora.detectors.load import load_base
from vision_lora.errors import ConfigError, DataError
from vision_lora.options.compare import CompareConfig
from vision_lora.pictures.detections import Detections
from vision_lora.system.outputs import write_json

SCORES = {0.001: 0.3, 0.002: 0.4, 0.004: 0.2}


@pytest.fixture
def config(tmp_path: Path) -> CompareConfig:
    return CompareConfig(
        data=str(steel(tmp_path / "steel")),
        model="yolo11n.yaml",
        methods="lora,full,ultralytics",
        lrs="0.001,0.002,0.004",
        seeds="0,1",
        imgsz=64,
        device="cpu",
        precision="fp32",
        out=str(tmp_path / "out"),
    )


class Listener:
    def __init__(self) -> None:
        self.plan: tuple[int, int] = (0, 0)
        self.said: list[tuple[str, str | None]] = []

    def planned(self, runs: int, done: int) -> None:
        self.plan = (runs, done)

    def finished(self, cell: Cell, error: str | None) -> None:
        self.said.append((str(cell), error))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Cells that would have been run, in order: each is finished at once, its score decided by its learning rate."""
    calls: list[tuple[str, bool]] = []

    def run(self: Runner, cells: list[tuple[Cell, bool]], finished: object) -> None:
        for cell, score in cells:
            calls.append((cell.folder.name, score))
            values = dict.fromkeys(Trained.__dataclass_fields__, 0)
            mean = SCORES.get(cell.lr or 0, 0.1) + cell.seed / 100
            write_json(cell.folder / "trained.json", {**values, "map50_95": mean, "curve": [mean]})
            if score:
                write_json(cell.folder / "scored.json", {"result": {"map50_95": mean}, "general": None})
            finished(cell, None)  # type: ignore[operator]

    monkeypatch.setattr(Runner, "run", run)
    return calls


def test_the_first_seed_tries_learning_rates_and_the_best_is_taken_for_all(
    config: CompareConfig, ran: list[tuple[str, bool]]
) -> None:
    listener = Listener()
    grid = plan_grid(config)
    assert run_grid(grid, listener) == []
    trials = [(f"{m}--all--lr{lr}--seed0", False) for m in ("lora", "full") for lr in ("0.001", "0.002", "0.004")]
    own = [("ultralytics--all--own-lr--seed0", True)]
    finals = [(f"{m}--all--lr0.002--seed{seed}", True) for m in ("lora", "full") for seed in (0, 1)]
    assert ran == [*trials, *own, *finals, ("ultralytics--all--own-lr--seed1", True)]
    assert listener.plan == (12, 0)
    assert len(listener.said) == 12
    assert {grid.chosen(method, "all") for method in grid.methods} == {0.002, None}


def test_what_is_finished_never_runs_again_and_more_can_be_asked_later(
    config: CompareConfig, ran: list[tuple[str, bool]]
) -> None:
    run_grid(plan_grid(config), Listener())
    first = len(ran)
    listener = Listener()
    run_grid(plan_grid(config), listener)
    assert len(ran) == first
    assert listener.plan == (12, 12)
    run_grid(
        plan_grid(replace(config, seeds="0,1,2", methods="lora,full,ultralytics,lora:rank=4:lrs=0.1/0.2/0.3")), listener
    )
    names = [name for name, _ in ran[first:]]
    assert sum("seed2" in name for name in names) == 4
    assert sum("rank=4" in name for name in names) == 3 + 3
    assert len(names) == 3 + 6


def test_a_failed_trial_does_not_stop_the_others(config: CompareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def run(self: Runner, cells: list[tuple[Cell, bool]], finished: object) -> None:
        for cell, score in cells:
            seen.append(cell.folder.name)
            if cell.method.name == "full" or cell.lr == 0.002:
                finished(cell, "the loss is not a number")  # type: ignore[operator]
                continue
            values = dict.fromkeys(Trained.__dataclass_fields__, 0)
            write_json(cell.folder / "trained.json", {**values, "map50_95": SCORES.get(cell.lr or 0, 0)})
            if score:
                write_json(cell.folder / "scored.json", {"result": {}, "general": None})
            finished(cell, None)  # type: ignore[operator]

    monkeypatch.setattr(Runner, "run", run)
    failed = run_grid(plan_grid(config), Listener())
    assert [str(cell) for cell, _ in failed] == [
        "lora, all, learning rate 0.002, seed 0",
        *(f"full, all, learning rate {lr}, seed 0" for lr in (0.001, 0.002, 0.004)),
    ]
    assert "lora--all--lr0.001--seed1" in seen
    assert not any(name.startswith("full") and name.endswith("seed1") for name in seen)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"epochs": 7},
            "runs in .* were made with epochs 20, now 7; give the same again, or another --out",
        ),
        ({"rank": 4}, "rank 8, now 4"),
        ({"imgsz": 96}, "imgsz 64, now 96"),
        ({"precision": "bf16"}, "precision fp32, now bf16"),
        ({"augment": "none"}, "another --augment"),
        ({"model": "yolov8n.yaml"}, "another --model"),
    ],
)
def test_options_that_would_mix_results_are_refused(
    config: CompareConfig, ran: list[tuple[str, bool]], changed: dict[str, object], message: str
) -> None:
    run_grid(plan_grid(config), Listener())
    before = sorted(Path(config.out).rglob("*"))
    with pytest.raises(ConfigError, match=message) as caught:
        run_grid(plan_grid(replace(config, **changed)), Listener())
    assert "\n" not in str(caught.value)
    assert sorted(Path(config.out).rglob("*")) == before


def test_changed_boxes_are_refused(config: CompareConfig, ran: list[tuple[str, bool]]) -> None:
    run_grid(plan_grid(config), Listener())
    label = Path(config.data).parent / "labels" / "test" / "test0.txt"
    label.write_text("0 0.42 0.5 0.3 0.3\n")
    with pytest.raises(ConfigError, match="another --data"):
        run_grid(plan_grid(config), Listener())


def test_a_folder_of_something_else_or_in_use_is_refused(config: CompareConfig, ran: list[tuple[str, bool]]) -> None:
    out = Path(config.out)
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="holds something that is no comparison"):
        run_grid(plan_grid(config), Listener())
    (out / "thesis.tex").unlink()
    run_grid(plan_grid(config), Listener())
    with FileLock(out / ".lock"), pytest.raises(ConfigError, match="another comparison is running there"):
        run_grid(plan_grid(config), Listener())
    assert len(ran) == 12


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"seeds": "0,0"}, ConfigError, "--seeds 0,0: expected whole numbers"),
        ({"seeds": "a"}, ConfigError, "--seeds a"),
        ({"shots": "all,all"}, ConfigError, "--shots all,all: expected each entry once"),
        ({"device": "cuda:77"}, ConfigError, "--device cuda:77"),
        ({"augment": "glitter"}, ConfigError, "glitter"),
        ({"methods": "magic"}, ConfigError, "--methods magic"),
        ({"retention": "gone.yaml"}, DataError, "gone.yaml"),
        ({"replay": "gone"}, DataError, "gone"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    config: CompareConfig, changed: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_grid(replace(config, **changed))
    assert not Path(config.out).exists()


def test_retention_needs_pictures_of_the_bases_classes_and_a_method_that_keeps_them(config: CompareConfig) -> None:
    with pytest.raises(DataError, match=r"--retention .*: none of the dataset's classes"):
        plan_grid(replace(config, retention=config.data))


def test_retention_needs_a_val_split(config: CompareConfig, tmp_path: Path) -> None:
    everyday = yolo(tmp_path / "everyday", names=str(list(load_base("yolo11n.yaml").names[:3])))
    with pytest.raises(DataError, match="no val split"):
        plan_grid(replace(config, retention=str(everyday)))
    everyday.write_text(everyday.read_text() + "val: images/train\n")
    with pytest.raises(ConfigError, match="none of the methods keeps the base's classes; expected lora or full:joint"):
        plan_grid(replace(config, retention=str(everyday), methods="full,head"))
    grid = plan_grid(replace(config, retention=str(everyday)))
    asked = [grid.order(grid.trials(method, "all")[0]).retention for method in grid.methods]
    assert asked == [str(everyday), None, None]  # lora, full, ultralytics


def test_orders_share_the_budget(config: CompareConfig) -> None:
    grid = plan_grid(
        replace(config, methods="lora:joint,full,ultralytics,peft:rank=2", shots="1,all", draws=500, epochs=4)
    )
    _, full, outside, _ = grid.methods
    orders = [grid.order(grid.trials(method, "all")[0]) for method in grid.methods]
    for order in orders:
        assert {order.options[name] for name in ("epochs", "patience")} == {4}
        assert (order.options["draws"], order.options["seed"], order.scored) == (500, 0, "test")
    assert (orders[0].options["joint"], orders[0].options["replay"], orders[0].options["lr"]) == (True, None, 0.001)
    assert "lr" not in orders[2].options
    assert orders[3].options["rank"] == 2
    assert orders[3].options["placement"] == "deep"  # of the same layers as the adapter
    assert orders[2].epochs_outside == round(4 * 500 / 8)  # 8 pictures, drawn once an epoch there
    few = grid.trials(outside, "1")[0]
    assert grid.order(few).epochs_outside == round(4 * 500 / len(grid.data.training["1", 0]))
    orders[1].write(full_folder := grid.trials(full, "all")[0].folder)
    assert Order.read(full_folder) == orders[1]


def test_the_command_names_no_machine(config: CompareConfig) -> None:
    paths = {"model": "/somewhere/weights/yolo11n.pt", "shots": "10,/somewhere/lists/few.txt"}
    text = command(replace(config, **paths, lrs="0.001,0.003", jobs=4))
    assert text == (
        "python -m vision_lora.compare --data steel/data.yaml --model yolo11n.pt --methods lora,full,ultralytics "
        "--shots 10,lists/few.txt --seeds 0,1 --lrs 0.001,0.003 --imgsz 64 --precision fp32"
    )


def test_the_clock_adds_up_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    first = Clock(tmp_path / "attempts.json")
    now[0] += 10
    assert first.keep() == 10
    now[0] += 5  # killed here: lost work does not count
    second = Clock(tmp_path / "attempts.json")
    now[0] += 7
    assert second.keep() == 17


def test_detections_are_kept_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("person", "scratch", "dent")
    found = [
        Detections(rng.random((n, 4), "f4"), rng.random(n, "f4"), rng.integers(0, 3, n), names, 1) for n in (3, 0, 5)
    ]
    save_detections(tmp_path / "d.npz", found, ["dent", "scratch"])
    for one, other in zip(load_detections(tmp_path / "d.npz", ["dent", "scratch"]), found, strict=True):
        known = other.classes > 0
        assert np.array_equal(one.boxes, other.boxes[known])
        assert np.array_equal(one.scores, other.scores[known])
        assert [one.name(i) for i in range(len(one))] == [names[c] for c in other.classes[known]]


_PARENT = """
import subprocess, sys, time
child = '''import time
from vision_lora.system.parent import end_with_parent
end_with_parent()
print("up", flush=True)
time.sleep(600)'''
process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, start_new_session=True)
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_cell_ends_when_its_grid_is_gone() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    first, second = parent.stdout.readline(), parent.stdout.readline()
    pid = int(first if first.strip().isdecimal() else second)
    os.kill(pid, 0)  # it is there
    parent.kill()  # as kill -9: nothing can be tidied up
    parent.wait()
    # The child holds the other end of the pipe for as long as it lives.
    assert select.select([parent.stdout], [], [], 60)[0]
    assert parent.stdout.read() == ""


def test_a_broken_cell_says_why(config: CompareConfig) -> None:
    grid = plan_grid(replace(config, methods="lora"))
    cell = grid.trials(grid.methods[0], "all")[0]
    order = grid.order(cell)
    replace(order, options={**order.options, "data": "gone.yaml"}).write(cell.folder)
    said: list[str | None] = []
    Runner(1).run([(cell, True)], lambda _, error: said.append(error))
    assert said[0] is not None
    assert said[0].startswith("gone.yaml: no such file or folder")
    assert cell.trained is None
    assert cell.scored is None
