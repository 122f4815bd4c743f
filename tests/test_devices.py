"""Threads: how many, and that they wait without keeping a core busy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vision_lora import devices
from vision_lora.config import EvaluateConfig, TrainConfig
from vision_lora.devices import use_threads
from vision_lora.errors import ConfigError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("threads", "workers", "processes", "used"),
    [(0, 0, 1, 4), (0, 1, 1, 3), (0, 9, 1, 1), (0, 0, 2, 2), (0, 1, 2, 1), (7, 1, 1, 7), (1, 0, 1, 1)],
)
def test_loaders_and_other_processes_have_cores_of_their_own(
    threads: int, workers: int, processes: int, used: int
) -> None:
    use_threads(threads, workers=workers, processes=processes)
    assert torch.get_num_threads() == used


@pytest.mark.usefixtures("four_cores")
def test_fewer_threads_than_cores_stay_fewer() -> None:
    """As OMP_NUM_THREADS has asked for."""
    torch.set_num_threads(2)
    use_threads(0, workers=1)
    assert torch.get_num_threads() == 2


def _environment(code: str, **variables: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**kept, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_openmp_is_told_to_wait_asleep_before_torch_is_loaded_and_a_user_s_word_stays() -> None:
    code = "import sys, os, vision_lora; print('torch' in sys.modules, *(os.environ[n] for n in {!r}))".format(
        ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    )
    assert _environment(code) == ["False", "PASSIVE", "0"]
    assert _environment(code, OMP_WAIT_POLICY="ACTIVE", KMP_BLOCKTIME="200") == ["False", "ACTIVE", "200"]


@pytest.mark.parametrize("kind", [TrainConfig, EvaluateConfig])
def test_impossible_threads_are_refused(kind: type[TrainConfig] | type[EvaluateConfig]) -> None:
    with pytest.raises(ConfigError, match="--threads -1: expected 0 to 1024"):
        kind(data="d", model="m", threads=-1)
