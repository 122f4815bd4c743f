"""Trackers stay out of a run's way: missing, slow and broken ones."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.training import tiny
from vision_lora.errors import ConfigError
from vision_lora.train import main
from vision_lora.training.loop.listener import Listener
from vision_lora.training.trackers import aside
from vision_lora.training.trackers.aside import Aside, keep_run_name, open_trackers, run_name

ROW = {"epoch": 1.0, "map50": 0.5}


class Odd(Exception):
    """An error that nobody has heard of."""


class Tracker(Listener):
    """Keeps what it was told, and fails from a given epoch on."""

    def __init__(self, fails_at: int = 99) -> None:
        self.rows: list[int] = []
        self.closes = 0
        self._fails_at = fails_at

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        if row["epoch"] >= self._fails_at:
            raise Odd("the server\nsaid no")
        self.rows.append(int(row["epoch"]))

    def closed(self) -> None:
        self.closes += 1


def test_all_is_told_in_order_before_the_end() -> None:
    tracker = Tracker()
    beside = Aside("test", tracker)
    for epoch in range(1, 20):
        beside.validated({"epoch": epoch}, best=False)
    beside.closed()
    assert tracker.rows == list(range(1, 20))
    assert tracker.closes == 1


def test_one_that_breaks_is_told_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(fails_at=2)
    monkeypatch.setattr(aside, "_made", lambda name: tracker)
    watch = tiny.Watch()
    summary = tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", log="mlflow", epochs=4), watch)
    assert watch.epochs == [1, 2, 3, 4]
    assert summary.result.is_file()
    assert tracker.rows == [1]
    told = [record.getMessage() for record in caplog.records if "--log" in record.getMessage()]
    assert told == ["--log mlflow: Odd: the server said no; the run goes on without it, and all of it is in its folder"]


def test_one_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    class Hanging(Listener):
        def validated(self, row: Mapping[str, float], *, best: bool) -> None:
            released.wait(30)

    monkeypatch.setattr(aside, "PATIENCE", 0.1)
    beside = Aside("test", Hanging())
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            beside.validated(ROW, best=False)
        assert time.monotonic() - began < 0.1
        beside.closed()
    released.set()
    assert time.monotonic() - began < 10
    assert [record.getMessage() for record in caplog.records if "no answer within 0.1 s" in record.getMessage()]


@pytest.mark.parametrize(
    ("name", "module"),
    [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow.tracking"), ("wandb", "wandb")],
)
def test_one_that_is_not_installed_is_one_line_before_any_work(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"), "--log", name]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert f"--log {name}: " in told.err
    assert f"is not installed; pip install 'vision-lora[{name}]'" in told.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", ["tensorflow", "mlflow,", "mlflow,mlflow", ""])
def test_names_that_are_none(names: str) -> None:
    from vision_lora.options.train import TrainConfig

    with pytest.raises(ConfigError, match=r"--log .*: expected some of tensorboard, mlflow, wandb"):
        TrainConfig(data="d", log=names)


def test_none_is_opened_where_none_is_named() -> None:
    assert open_trackers(None) == []


def test_names_of_a_run_are_kept_beside_each_other(tmp_path: Path) -> None:
    assert run_name(tmp_path, "mlflow") is None
    keep_run_name(tmp_path, "mlflow", "a")
    keep_run_name(tmp_path, "wandb", "b")
    keep_run_name(tmp_path, "mlflow", "c")
    found: Any = [run_name(tmp_path, name) for name in ("mlflow", "wandb", "tensorboard")]
    assert found == ["c", "b", None]
