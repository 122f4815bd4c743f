"""`camera --collect`: what comes of a whole video, and of a live feed that is faster than the disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.streaming.build import MjpegServer, SquareFinder, draw_squares, running, wait_until, write_video
from vision_lora.errors import ConfigError
from vision_lora.options.camera import CameraConfig
from vision_lora.pictures.images import read_image
from vision_lora.streaming.records import telling
from vision_lora.streaming.records.collector import Collector


@pytest.fixture(autouse=True)
def never_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "RANDOM", 1e12)


def test_of_a_video_the_pictures_that_tell_something_are_kept(tmp_path: Path) -> None:
    """A square that blinks is kept where it cannot be seen; then comes an L, which fills a tenth of its box."""
    pictures = draw_squares(50)
    pictures[12][:] = 90
    for picture in pictures[35:]:
        picture[:] = 90
        picture[40:44, 20:80], picture[40:90, 20:24] = 235, 235
    video, folder = write_video(tmp_path / "belt.mp4", pictures), tmp_path / "todo"
    with running(source=[str(video)], confidence=0.15, collect=str(folder)) as at_work:
        assert at_work.end() == 0
        assert at_work.read("belt").dropped == {}
    kept = {file.stem.rpartition("-")[2]: read_image(file) for file in folder.iterdir()}
    assert kept.keys() == {"flicker", "unsure"}
    assert kept["flicker"].max() < 120
    assert kept["unsure"][41:43, 22:78].min() > 150


def test_a_folder_is_not_collected_from_itself(tmp_path: Path) -> None:
    """Pictures are read from a folder in which the collected ones are."""
    write_video(tmp_path / "a.mp4", draw_squares(3))
    inside = tmp_path / "todo"
    inside.mkdir()
    (inside / "20270115T080000000Z-a-unsure.jpg").write_bytes(b"no picture")
    with running(source=[str(tmp_path)], collect=str(inside)) as at_work:
        assert at_work.end() == 0
        assert at_work.read(tmp_path.name).dropped == {}


def test_a_disk_that_takes_nothing_never_slows_detection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "EVERY", 0.0)
    monkeypatch.setattr(telling, "UNSURE", 0.0)
    takes = threading.Event()
    monkeypatch.setattr(Collector, "write", lambda *_: takes.wait(20))
    with (
        MjpegServer(lambda number: draw_squares(1)[0], fps=60) as server,
        running(SquareFinder(), source=[server.url], collect=str(tmp_path / "todo")) as at_work,
    ):
        (name,) = at_work.service.sources
        wait_until(lambda: at_work.read(name).dropped.get("collecting", 0) > 20)
        takes.set()


def test_close_ups_and_collected_pictures_need_a_folder_each() -> None:
    with pytest.raises(ConfigError, match="--collect a/b/: expected another folder than that of --crops"):
        CameraConfig(model="m", source=["x"], crops="a/b", collect="a/b/")
