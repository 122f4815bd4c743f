"""Several processes are one run: it ends as one, and gives what one gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from vision_lora.adapters.file import load_adapter
from vision_lora.datasets import open_dataset
from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.batches.loader import Loading, train_loader
from vision_lora.training.runs import processes
from vision_lora.training.runs.processes import Helpers

ROOT = Path(__file__).parents[3]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Helpers]:
    """One helper that runs a line of shell."""

    def started(line: str) -> Helpers:
        popen = subprocess.Popen
        monkeypatch.setattr(processes.subprocess, "Popen", lambda _, **how: popen(["sh", "-c", line], **how))
        given = Helpers()
        given.start(1)
        return given

    return started


@pytest.mark.parametrize(
    ("line", "told"), [("kill -9 $$", "was killed by SIGKILL"), ("exit 3", "ended with code 3"), ("kill $$", "SIGTERM")]
)
def test_a_dead_helper_is_named_with_what_to_do(
    line: str, told: str, helpers: Callable[[str], Helpers], tmp_path: Path
) -> None:
    given = helpers(line)
    error = given.dead(60)
    assert told in str(error)
    assert str(error).endswith("start the run again")
    given.out = tmp_path
    (tmp_path / "state.pt").write_bytes(b"")
    assert str(given.dead()).endswith(f"continue with: python -m vision_lora.train --resume {tmp_path}")
    given.stop()


def test_helpers_end_with_the_run(helpers: Callable[[str], Helpers]) -> None:
    """Those that have ended well are no reason to end it."""
    given = helpers("cat > /dev/null")
    assert given.dead() is None
    given.stop()
    assert [process.poll() for process in given._processes] == [0]
    assert given.dead() is None


def test_a_collective_that_never_returns_does_not_hold_the_run(
    helpers: Callable[[str], Helpers], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The main thread sits in it; the watch ends the process."""
    codes: list[int] = []
    monkeypatch.setattr(processes, "GRACE", 0.1)
    monkeypatch.setattr(processes.os, "_exit", codes.append)
    given = helpers("exit 1")
    until(lambda: codes)
    assert codes == [2]
    assert capfd.readouterr().err.count("error: process 2 of 2") == 1
    given.stop()


def test_processes_divide_every_batch_and_none_is_counted_twice(tmp_path: Path) -> None:
    """Nine pictures in batches of four for three processes: the last batch has one, and two processes keep step."""
    samples = open_dataset(tiny.data(tmp_path)).splits["train"]

    def loader(rank: int, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        loading = Loading(0, shard=(rank, count))
        batches = train_loader(samples, 64, 4, recipe=load_recipe("surface"), seed=0, loading=loading, min_draws=9)
        assert [batches.pictures(index) for index in range(len(batches))] == [4, 4, 1]
        return [(batch.indices, batch.images) for batch in batches]

    alone = loader(0, 1)
    parts = [loader(rank, 3) for rank in range(3)]
    for step, (indices, images) in enumerate(alone):
        for rank in range(3):
            mine, pictures = parts[rank][step]
            counted = mine >= 0
            assert torch.equal(mine[counted], indices[rank::3])
            assert torch.equal(pictures[counted], images[rank::3])
            assert len(mine) >= 1
    assert [int((parts[rank][2][0] >= 0).sum()) for rank in range(3)] == [1, 0, 0]


def test_a_process_that_ends_with_its_parent_takes_its_loaders_with_it() -> None:
    """Neither waits for the other, nor for anybody's next look."""
    code = (
        "import multiprocessing as mp, time; from vision_lora.system import parent; parent.end_with_parent()\n"
        "child = mp.get_context('fork').Process(target=time.sleep, args=(600,)); child.start()\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        loader = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(30) == 130
    until(lambda: not Path(f"/proc/{loader}").exists() or "State:\tZ" in Path(f"/proc/{loader}/status").read_text())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_give_what_one_gives_and_end_together(tmp_path: Path) -> None:
    """Batches of three and a last one of two; then the helper is killed, and the run goes on from its state."""
    dataset = tiny.data(tmp_path / "data")
    recipe = {"batch": 3, "epochs": 1, "lr": 0.001}
    alone = tiny.run(tiny.options(dataset, tmp_path / "one", **recipe))
    two = tiny.run(tiny.options(dataset, tmp_path / "two", devices=2, **recipe))
    rows = [list(table) for table in zip(*(_row(run.out) for run in (alone, two)), strict=True)]
    assert all(first == pytest.approx(second, rel=1e-4, abs=1e-4) for first, second in rows), rows
    first, second = (load_adapter(run.out / "last.safetensors").state_dict() for run in (alone, two))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-4

    options = tiny.options(dataset, tmp_path / "cut", devices=2, batch=3, epochs=5000)
    words = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in ("data", "out", "devices", "epochs")]
    words += ["--imgsz=64", "--draws=0", "--batch=3", "--workers=1", "--placement=head", "--device=cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vision_lora.train", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: (tmp_path / "cut" / "adapter.safetensors").exists())
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "training.runs.helper"], capture_output=True, text=True, check=True
    )
    os.kill(int(found.stdout), signal.SIGKILL)
    began = time.monotonic()
    errors = process.communicate(timeout=60)[1].strip().splitlines()
    assert time.monotonic() - began < 30
    assert process.returncode == 2
    assert [line for line in errors if line.startswith("error: process 2 of 2")] == errors[-1:]
    assert errors[-1].endswith(f"--resume {tmp_path / 'cut'}")


def _row(out: Path) -> list[float]:
    header, row = ((out / "results.csv").read_text().splitlines())[:2]
    names = header.split(",")
    return [float(value) for name, value in zip(names, row.split(","), strict=True) if name != "images_per_second"]
