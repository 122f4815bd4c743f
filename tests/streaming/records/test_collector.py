"""Pictures to label on disk: within their share, and never at the cost of a live feed."""

from __future__ import annotations

import re
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.streaming.records.test_telling import detected
from vision_lora.pictures.images import read_image
from vision_lora.streaming.records.aside import WAITING
from vision_lora.streaming.records.collector import NAME, Collector
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.records.telling import Telling

ONE = np.array([-1], np.int64), np.array([0.5])


def collector(folder: Path, limit: float = 1e9) -> tuple[Collector, Counter[str]]:
    dropped: Counter[str] = Counter()
    made = Collector(BoundedFolder("collect", folder, NAME, limit), ["line"], lambda _, cause: dropped.update([cause]))
    return made, dropped


def collect(at_work: Collector, numbers: range) -> None:
    """Unsure pictures, one a second."""
    at_work.start()
    for number in numbers:
        at_work.look(detected(number, 0.5, fps=1), *ONE)
        while not at_work._queue.empty():  # as a feed in which the next one comes later
            threading.Event().wait(0.001)
    at_work.stop()
    assert at_work.join(10)
    at_work.check()


def test_pictures_are_kept_as_they_came(tmp_path: Path) -> None:
    at_work, dropped = collector(tmp_path)
    collect(at_work, range(3))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [f"19700101T00000{second}000Z-line-unsure.jpg" for second in range(3)]
    assert all(re.fullmatch(NAME, name) for name in names)
    assert not read_image(tmp_path / names[0]).any()
    assert not dropped


def test_the_oldest_go_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "20200101T000000000Z-line-1f2e3d4c.jpg"  # a close-up
    other.write_bytes(b"x" * 5000)
    at_work, _ = collector(tmp_path, limit=2000)
    collect(at_work, range(12))
    left = sorted(file for file in tmp_path.iterdir() if file != other)
    assert other.exists()
    assert sum(file.stat().st_size for file in left) <= 2000
    assert left[-1].name.startswith("19700101T000011")


def test_a_live_feed_is_never_slowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes nothing for as long as pictures come."""
    slow = threading.Event()
    write = Collector.write

    def waiting(self: Collector, frame: object, item: Telling) -> bool:
        slow.wait(10)
        return write(self, item.detected.frame, item)

    monkeypatch.setattr(Collector, "write", waiting)
    at_work, dropped = collector(tmp_path)
    at_work.start()
    for number in range(40):
        at_work.look(detected(number, 0.5, fps=1), *ONE)
    assert 40 - WAITING - 1 <= dropped["collecting"] <= 40 - WAITING
    slow.set()
    at_work.stop()
    assert at_work.join(10)
    assert len(list(tmp_path.iterdir())) == 40 - dropped["collecting"]


def test_a_folder_that_vanishes_is_told_once_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "todo"
    at_work, dropped = collector(folder)
    shutil.rmtree(folder)
    collect(at_work, range(3))
    assert dropped == {"collecting": 3}
    assert caplog.text.count("pictures are not collected (") == 1


def test_a_clock_that_is_set_back_replaces_no_picture(tmp_path: Path) -> None:
    for _ in range(2):
        at_work, _ = collector(tmp_path)
        collect(at_work, range(2))
    assert len(list(tmp_path.iterdir())) == 4
