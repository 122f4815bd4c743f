"""Two runs never write into one folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import tiny
from vision_lora.errors import ConfigError
from vision_lora.options.train import TrainConfig
from vision_lora.training.runs.folder import RunFolder

HOLD = """
import sys
from vision_lora.options.train import TrainConfig
from vision_lora.training.runs.folder import RunFolder
with RunFolder(TrainConfig(data="d", out=sys.argv[1], exist_ok=True)) as folder:
    folder.begin(anew=True)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_of_two_runs_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """However that one ends: its lock goes with it, and its forked loader processes do not keep it."""
    out = tmp_path / "run"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    again = TrainConfig(data="d", out=str(out), exist_ok=True)
    with pytest.raises(ConfigError, match=rf"another run writes there \(process {first.pid}\)"):
        RunFolder(again).begin(anew=True)
    (out / "state.pt").write_bytes(b"")
    for config in (TrainConfig(resume=str(out)), again):
        with pytest.raises(ConfigError, match="another run writes there"):
            RunFolder(config)
    first.kill()
    first.wait()
    first.stdout.close()
    with RunFolder(again) as folder:
        assert folder.begin(anew=True) == out
    assert not (out / "run.lock").exists()


def test_a_refused_run_leaves_no_lock(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="no interrupted run there"):
            RunFolder(TrainConfig(resume=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_to_resume_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no interrupted run there"):
        RunFolder(TrainConfig(resume=str(tmp_path / "gone")))
    assert not (tmp_path / "gone").exists()


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    config = tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", exist_ok=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            tiny.run(config, tiny.Watch(fail))
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"config.json", "plan.txt", "state.pt"}
