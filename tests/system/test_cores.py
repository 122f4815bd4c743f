"""Threads: as many as other programs leave cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from vision_lora.errors import ConfigError
from vision_lora.options.detect import EvaluateConfig
from vision_lora.options.train import TrainConfig
from vision_lora.system import cores
from vision_lora.system.cores import Others, Threads, loader_processes
from vision_lora.train import main as train


def others(monkeypatch: pytest.MonkeyPatch, *taken: float) -> None:
    """Four cores, of which other programs take so many, look by look."""
    looks = iter(taken)
    monkeypatch.setattr(cores, "_MOST", 4)
    monkeypatch.setattr(cores, "LOOK", 0)
    monkeypatch.setattr(cores, "EVERY", 0)
    monkeypatch.setattr(Others, "count", 4)
    monkeypatch.setattr(Others, "taken", lambda self: next(looks))


@pytest.mark.parametrize(
    ("wanted", "processes", "taken", "used"),
    [
        (0, 1, 0.0, 4),
        (0, 1, 0.3, 4),
        (0, 1, 0.9, 3),
        (0, 1, 1.0, 3),
        (0, 1, 2.1, 2),
        (0, 1, 9.0, 1),
        (0, 2, 0.0, 2),
        (0, 3, 1.0, 1),
        (0, 9, 0.0, 1),
        (7, 1, 4.0, 7),
        (1, 1, 0.0, 1),
    ],
)
def test_threads_are_as_many_as_others_leave_cores(
    wanted: int, processes: int, taken: float, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    others(monkeypatch, taken)
    Threads(wanted, processes=processes)
    assert torch.get_num_threads() == used


def test_fewer_threads_than_cores_stay_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OMP_NUM_THREADS has asked for."""
    others(monkeypatch, 0.0)
    monkeypatch.setattr(cores, "_MOST", 2)
    Threads()
    assert torch.get_num_threads() == 2


def test_a_run_makes_room_and_takes_up_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    others(monkeypatch, 0.0, 0.7, 1.0, 1.0, 0.2, 0.0)
    threads, used = Threads(), []
    for _ in range(5):
        threads.adapt()
        used.append(torch.get_num_threads())
    assert used == [3, 3, 3, 4, 4]


@pytest.mark.parametrize("options", [{"wanted": 2}, {"processes": 2}])
def test_a_number_that_was_asked_for_stays(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    others(monkeypatch, 0.0, 3.0)
    threads = Threads(**options)
    threads.adapt()
    assert torch.get_num_threads() == 2


def test_a_busy_program_is_seen_and_this_one_is_not() -> None:
    """Own work, here and in a helper, is no reason to make room."""
    busy = [sys.executable, "-c", "while True: pass"]
    own = Others()
    with subprocess.Popen(busy) as helper:
        time.sleep(0.5)
        while_helping = own.taken()
        helper.kill()
    # A grandchild whose parent has ended is nobody's helper.
    command = '"$0" -c "while True: pass" >/dev/null 2>&1 & echo $!'
    orphan = subprocess.run(["sh", "-c", command, sys.executable], stdout=subprocess.PIPE, text=True, check=True)
    number = int(orphan.stdout)
    try:
        time.sleep(0.1)
        seen = Others()
        time.sleep(0.5)
        beside = seen.taken()
    finally:
        os.kill(number, signal.SIGKILL)
    assert beside > while_helping + 0.25


@pytest.mark.parametrize("kind", [TrainConfig, EvaluateConfig])
def test_impossible_threads_are_refused(kind: type[TrainConfig] | type[EvaluateConfig]) -> None:
    with pytest.raises(ConfigError, match="--threads -1: expected 0 to 1024"):
        kind(data="d", model="m", threads=-1)


@pytest.mark.parametrize(
    ("wanted", "device", "processes", "loaders"),
    [
        ("auto", "cpu", 1, 1),
        ("auto", "cuda", 1, 3),
        ("auto", "cuda", 2, 1),
        ("auto", "cuda", 9, 1),
        (0, "cuda", 1, 0),
        (7, "cpu", 1, 7),
    ],
)
def test_a_gpu_has_loaders_on_each_core_but_one(
    wanted: int | str, device: str, processes: int, loaders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    others(monkeypatch)
    assert loader_processes(wanted, torch.device(device), processes) == loaders


@pytest.mark.parametrize("workers", ["-1", "65", "many", "1.5"])
def test_impossible_loaders_are_refused(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["--data", "d", "--workers", workers]) == 2
    assert f"--workers {workers}: expected" in " ".join(capsys.readouterr().err.split())
