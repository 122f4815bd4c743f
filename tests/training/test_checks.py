"""What can be known before the first step is told before it, in one line, and nothing is written."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.datasets.build import yolo
from tests.training import tiny
from vision_lora.datasets import Sample, open_dataset
from vision_lora.datasets.batches import cache, loader
from vision_lora.datasets.batches.augment import Recipe
from vision_lora.datasets.batches.loader import Loading, TrainLoader, train_loader
from vision_lora.errors import ConfigError, DataError
from vision_lora.options.train import TrainConfig
from vision_lora.training.runs.failures import in_words

BOX = "0 0.5 0.5 0.5 0.5\n"


def split(root: Path, train: list[str], val: list[str]) -> Path:
    """A dataset with a val split of its own."""
    yolo(root / "other", val)
    (root / "other" / "data.yaml").unlink()
    return yolo(root, train, val="other/images/train", names="[scratch, dent]")


@pytest.mark.parametrize(
    ("train", "val", "options", "message"),
    [
        ([BOX], ["", ""], {}, "no val picture has a box of scratch, dent, so no mAP"),
        (["", ""], [BOX], {}, "no train picture has a box of scratch, dent, so nothing can be learned"),
        ([BOX, "1 0.5 0.5 0.2 0.2\n"], [BOX], {"classes": "dent"}, "no val picture has a box of dent"),
        ([BOX], [BOX], {"classes": "dent"}, "no train picture has a box of dent"),
        # Divided by us, and what boxes there are fall into train.
        ([BOX, *[""] * 9], [], {"tile": 0}, "no (val|train) picture has a box"),
    ],
)
def test_boxes_are_looked_for_before_anything_starts(
    train: list[str], val: list[str], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = split(tmp_path / "data", train, val) if val else yolo(tmp_path / "data", train)
    with pytest.raises(DataError, match=message):
        tiny.run(tiny.options(data, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_classes_without_boxes_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = split(tmp_path / "data", [BOX, "1 0.5 0.5 0.2 0.2\n"], [BOX])

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        tiny.run(tiny.options(data, tmp_path / "run", batch=2), tiny.Watch(end))
    assert "val has no box of dent" in caplog.text


def test_a_disk_that_is_too_small_is_told_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_lora.training.checks.shutil.disk_usage", lambda _: type("U", (), {"free": 2**16}))
    monkeypatch.setattr(loader, "free_shared_memory", lambda: 2**40)
    with pytest.raises(ConfigError, match="MiB free there; the weights and the state"):
        tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    """As root nothing is forbidden, so the place of the lock is taken."""
    (tmp_path / "run" / "run.lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot write there"):
        tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", exist_ok=True))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return open_dataset(yolo(tmp_path / "data", [BOX] * 6)).splits["train"]


def loading(samples: list[Sample], **options: Any) -> TrainLoader:
    return train_loader(samples, 96, 2, recipe=Recipe("none"), seed=0, loading=Loading(**options))


@pytest.mark.parametrize(
    ("free", "workers", "spare", "processes", "used", "in_memory"),
    [
        (2**40, 1, 0, 1, 1, True),
        (200_000, 1, 0, 1, 0, True),  # four batches in flight would take 221 kB: none of them, and all pictures fit
        (300_000, 1, 0, 1, 1, False),  # the batches fit, the pictures no longer beside them
        (300_000, 1, 100_000, 1, 0, True),  # some of it is others'
        (300_000, 2, 0, 1, 0, True),
        (2 * 120_000, 1, 0, 2, 1, False),  # half of it, and half of each batch
        (0, 0, 0, 1, 0, False),
    ],
)
def test_what_shared_memory_does_not_hold_goes_another_way(
    samples: list[Sample],
    free: int,
    workers: int,
    spare: int,
    processes: int,
    used: int,
    in_memory: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for place in (loader, cache):
        monkeypatch.setattr(place, "free_shared_memory", lambda: free)
    batches = loading(samples, workers=workers, spare=spare, shard=(0, processes))
    assert (batches._loader.num_workers > 0) == (used > 0)
    assert (batches._loader.dataset.cache._file is None) == in_memory
    assert ("shared memory has" in caplog.text) == (workers > 0 and used == 0)


class _Stuck:
    """A picture that never comes."""

    def __getitem__(self, _: object) -> None:
        signal.pause()


class _Lost:
    """A picture that ends its process."""

    def __getitem__(self, _: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("pictures", "told"),
    [(_Stuck(), "timed out after 1 seconds"), (_Lost(), "killed by signal: Killed|exited unexpectedly")],
)
def test_a_loader_that_gives_nothing_ends_the_run_in_a_line(
    pictures: Any, told: str, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loader, "PATIENCE", 1)
    batches = loading(samples, workers=1)
    object.__setattr__(batches._loader, "dataset", pictures)
    with pytest.raises(RuntimeError, match=told) as caught:
        next(iter(batches))
    line = in_words(caught.value, TrainConfig(data="d", workers=1), tmp_path / "a run")
    assert str(line).startswith("the processes that load pictures (--workers 1) failed: DataLoader")
    assert str(line).endswith(f"continue with: python -m vision_lora.train --resume '{tmp_path / 'a run'}'")


def test_other_errors_are_not_called_the_loader_s(tmp_path: Path) -> None:
    config = TrainConfig(data="d")
    assert in_words(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), config, tmp_path) is None
    assert "--batch" in str(in_words(torch.OutOfMemoryError("CUDA out of memory"), config, tmp_path))
