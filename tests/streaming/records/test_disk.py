"""Folders stay within their share of the disk; close-ups and recordings are what they should be."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.streaming.build import draw_squares, wait_until
from vision_lora.errors import ConfigError
from vision_lora.pictures.detections import Detections
from vision_lora.streaming.records.aside import WAITING
from vision_lora.streaming.records.crops import SHOWN, Crops
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.records.segments import NAME, Recorder
from vision_lora.streaming.sources.inbox import Frame

NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("scratch",), 0)
ONE = Detections(
    np.array([[20, 20, 120, 90]], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int64), ("scratch",), 0
)


def frame(
    number: int, source: str = "line", *, fps: float = 10, size: tuple[int, int] = (160, 120), file: str = ""
) -> Frame:
    clock = number / fps
    return Frame(
        source, number, clock, 1_800_000_000 + clock, clock, size, lambda: np.zeros(1, np.uint8), str(number), file
    )


def test_the_oldest_files_go_and_others_files_stay(tmp_path: Path) -> None:
    for name in ("a1.jpg", "a2.jpg", "holiday.png"):
        (tmp_path / name).write_bytes(b"x" * 400)
    folder = BoundedFolder("crops", tmp_path, r"a\d\.jpg", limit=1000)
    for number in range(3, 6):
        file = tmp_path / f"a{number}.jpg"
        file.write_bytes(b"x" * 400)
        folder.added(file)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a4.jpg", "a5.jpg", "holiday.png"]
    file.write_bytes(b"x" * 5000)
    folder.added(file)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a5.jpg", "holiday.png"]


def test_a_folder_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--crops .*cannot be written"):
        BoundedFolder("crops", tmp_path / "file" / "below", "", 1)


def test_close_ups_show_the_defect_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    crops = Crops(BoundedFolder("crops", tmp_path, r".*\.jpg", 1e9))
    picture = draw_squares(1)[0]
    file = crops.keep("key", "name", picture, np.array([4, 40, 34, 70], np.float32))
    assert file == tmp_path / "name.jpg"
    close = cv2.imread(str(file))
    assert close is not None
    assert close.shape == (52, 45, 3)  # 30 px and a third of that on each side, as far as the picture goes
    assert close[25, 15].min() > 200 > close[3, 40].max()
    for number in range(SHOWN):
        crops.keep(str(number), str(number), picture, np.array([0, 0, 10, 10], np.float32))
    assert crops.shown("key") is None
    shown = crops.shown(str(SHOWN - 1))
    assert shown is not None
    assert cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR) is not None


def record(folder: Path, frames: list[Frame], found: Detections = NOTHING, limit: float = 1e9) -> Counter[str]:
    dropped: Counter[str] = Counter()
    recorder = Recorder(BoundedFolder("segments", folder, NAME, limit), lambda _, cause: dropped.update([cause]))
    recorder.start()
    for one in frames:
        recorder.record(one, np.full((one.size[1], one.size[0], 3), 90, np.uint8), found)
    recorder.stop()
    assert recorder.join(30)
    recorder.check()
    return dropped


def test_segments_of_a_minute_with_boxes_and_true_time(tmp_path: Path) -> None:
    frames = [frame(number, fps=2, file="f") for number in range(150)]  # 75 s, every picture counts
    assert not record(tmp_path, frames, ONE)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["20270115T080000000Z-line.mp4", "20270115T080100000Z-line.mp4"]
    with av.open(str(files[0])) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == 120
    assert frames[-1].time == pytest.approx(59.5)
    picture = frames[10].to_ndarray(format="rgb24")
    assert picture.shape == (120, 160, 3)
    assert picture[60, 20].astype(int)[0] > picture[60, 20].astype(int)[2] + 60, "no red box on the grey picture"


def test_another_size_is_another_segment_and_odd_sizes_work(tmp_path: Path) -> None:
    frames = [frame(number, file="f") for number in range(5)]
    frames += [frame(number, size=(161, 121), file="f") for number in range(5, 10)]
    assert not record(tmp_path, frames)
    sizes = []
    for file in sorted(tmp_path.iterdir()):
        with av.open(str(file)) as video:
            sizes.append((video.streams.video[0].width, video.streams.video[0].height))
    assert sizes == [(160, 120), (160, 120)]


def test_a_live_feed_is_never_slowed_by_its_recording(tmp_path: Path) -> None:
    began = time.monotonic()
    dropped = record(tmp_path, [frame(number, size=(1920, 1080)) for number in range(100)])
    assert dropped["recording"] > 100 - WAITING - 60
    assert time.monotonic() - began < 20


def test_recordings_stay_within_their_share(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    dropped: Counter[str] = Counter()
    recorder = Recorder(BoundedFolder("segments", tmp_path, NAME, 200_000), lambda _, cause: dropped.update([cause]))
    recorder.start()
    for number in range(40):
        noise = random.integers(0, 255, (120, 160, 3)).astype(np.uint8)
        recorder.record(frame(number, fps=1 / 30, file="f"), noise, NOTHING)  # two pictures a segment
    recorder.stop()
    assert recorder.join(30)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 200_000
    assert len(list(tmp_path.iterdir())) > 1


def test_a_recording_that_is_killed_plays_up_to_the_last_second(tmp_path: Path) -> None:
    script = Path(__file__).with_name("segment_writer.py")
    writer = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    (file,) = tmp_path.iterdir()
    with av.open(str(file)) as video:
        assert 39 <= len(list(video.decode(video=0))) <= 50


def test_a_folder_that_vanishes_costs_the_recording_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = BoundedFolder("segments", tmp_path / "gone", NAME, 1e9)
    dropped: Counter[str] = Counter()
    recorder = Recorder(folder, lambda _, cause: dropped.update([cause]))
    (tmp_path / "gone").rmdir()
    recorder.start()
    for number in range(3):
        recorder.record(frame(number, file="f"), draw_squares(1)[0], NOTHING)
    recorder.stop()
    assert recorder.join(10)
    recorder.check()
    assert dropped == {"recording": 3}
    assert len(caplog.records) == 1


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """The kernel's limit on file sizes stands in for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_recordings_alone_and_they_go_on_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vision_lora.streaming.records.segments.RETRY", 0.0)  # each picture is a try
    dropped: Counter[str] = Counter()
    recorder = Recorder(BoundedFolder("segments", tmp_path, NAME, 1e9), lambda _, cause: dropped.update([cause]))
    recorder.start()
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    with full_disk(0):
        for number in range(30):
            recorder.record(frame(number, file="f"), noise, NOTHING)
        wait_until(recorder._queue.empty)
        time.sleep(0.1)
    assert dropped["recording"] > 20
    assert not list(tmp_path.iterdir()), "tries that came to nothing leave nothing behind"
    for number in range(30, 40):
        recorder.record(frame(number, file="f"), noise, NOTHING)
    recorder.stop()
    assert recorder.join(30)
    recorder.check()
    (file,) = tmp_path.iterdir()
    with av.open(str(file)) as video:
        assert len(list(video.decode(video=0))) >= 9
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_an_end_on_a_full_disk_is_an_end(tmp_path: Path) -> None:
    dropped: Counter[str] = Counter()
    recorder = Recorder(BoundedFolder("segments", tmp_path, NAME, 1e9), lambda _, cause: dropped.update([cause]))
    recorder.start()
    recorder.record(frame(0, file="f"), np.zeros((120, 160, 3), np.uint8), NOTHING)
    wait_until(lambda: list(tmp_path.iterdir()) and next(tmp_path.iterdir()).stat().st_size)
    with full_disk(100):
        recorder.stop()
        assert recorder.join(30)
    recorder.check()


def test_a_source_that_cannot_be_recorded_is_tried_again_later_not_at_once(tmp_path: Path) -> None:
    folder = BoundedFolder("segments", tmp_path / "gone", NAME, 1e9)
    recorder = Recorder(folder, lambda *_: None)
    (tmp_path / "gone").rmdir()
    recorder.start()
    recorder.record(frame(0, file="f"), draw_squares(1)[0], NOTHING)
    wait_until(lambda: recorder._again)
    (tmp_path / "gone").mkdir()
    recorder.record(frame(1, file="f"), draw_squares(1)[0], NOTHING)
    recorder.record(frame(1, source="other", file="f"), draw_squares(1)[0], NOTHING)
    recorder.stop()
    assert recorder.join(10)
    assert [file.name[20:] for file in (tmp_path / "gone").iterdir()] == ["other.mp4"]


def test_a_clock_that_is_set_back_replaces_no_recording(tmp_path: Path) -> None:
    for fill in (90, 200):
        recorder = Recorder(BoundedFolder("segments", tmp_path, NAME, 1e9), lambda *_: None)
        recorder.start()
        recorder.record(frame(0, file="f"), np.full((120, 160, 3), fill, np.uint8), NOTHING)
        recorder.stop()
        assert recorder.join(10)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["20270115T080000000Z-line.mp4", "20270115T080000001Z-line.mp4"]


def test_close_ups_that_cannot_be_written_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crops = Crops(BoundedFolder("crops", tmp_path / "crops", r".*", 1e9))
    (tmp_path / "crops").rmdir()
    box = np.array([0, 0, 10, 10], np.float32)
    for number in range(3):
        assert crops.keep(str(number), str(number), draw_squares(1)[0], box) is None
    assert crops.shown("2"), "the page shows it all the same"
    (tmp_path / "crops").mkdir()
    assert crops.keep("3", "3", draw_squares(1)[0], box) is not None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_old_files_that_cannot_be_deleted_are_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = BoundedFolder("crops", tmp_path, r"a\d\.jpg", limit=1000)

    def add(number: int) -> None:
        (tmp_path / f"a{number}.jpg").write_bytes(b"x" * 400)
        folder.added(tmp_path / f"a{number}.jpg")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
        for number in range(5):
            add(number)
    assert len(list(tmp_path.iterdir())) == 5
    assert len(caplog.records) == 1
    add(5)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a4.jpg", "a5.jpg"]


def test_folders_that_were_made_are_taken_back_while_they_are_empty(tmp_path: Path) -> None:
    BoundedFolder("crops", tmp_path / "a" / "b", r".*", 1e9).undo()
    assert not list(tmp_path.iterdir())
    made = BoundedFolder("crops", tmp_path / "a" / "b", r".*", 1e9)
    (tmp_path / "a" / "notes.txt").touch()
    made.undo()
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["notes.txt"]
