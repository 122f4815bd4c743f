"""Everything wired up: sources to alarms, restarts, and failures that are not hidden."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.streaming.build import (
    MjpegServer,
    SquareFinder,
    adapter_files,
    draw_squares,
    free_port,
    results_of,
    running,
    wait_until,
    write_video,
)
from vision_lora.errors import AdapterError, ConfigError, DataError, VisionLoraError, WrongBaseError
from vision_lora.streaming.records.events import read_events
from vision_lora.streaming.web.app import describe


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    return adapter_files(folder, line1=("scratch", "dent"), line2=("stain",), other=("foreign",))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two squares pass, one after the other: 60 pictures in 6 s."""
    pictures = draw_squares(58)[:55] + draw_squares(5, fill=90)
    return write_video(tmp_path_factory.mktemp("video") / "belt.mp4", pictures)


def test_a_threshold_of_a_class_that_nobody_knows_is_told(video: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(source=[{"url": str(video), "thresholds": {"Square": 0.5, "square": 0.9}}]) as at_work:
        assert at_work.end() == 0
    assert "threshold of 'Square' (did you mean 'square'?): neither the base nor the adapter" in caplog.text


@pytest.mark.parametrize(("mode", "told"), [({}, True), ({"mode": "both"}, False), ({"mode": "general"}, False)])
def test_a_threshold_of_a_class_that_is_not_looked_for_is_told(
    video: Path, adapters: Path, caplog: pytest.LogCaptureFixture, mode: dict[str, str], told: bool
) -> None:
    line = {"url": str(video), "adapter": str(adapters / "line1.safetensors"), **mode}
    with running(source=[{**line, "thresholds": {"square": 0.5, "dent": 0.9}}]) as at_work:
        assert at_work.end() == 0
    assert ("threshold of square: only the base has such a class; mode both looks for it" in caplog.text) == told


def test_every_picture_of_a_file_is_detected_in_order_and_it_ends_by_itself(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = results_of(monkeypatch)
    events, crops = tmp_path / "events.jsonl", tmp_path / "crops"
    with running(source=[str(video)], events=str(events), crops=str(crops)) as at_work:
        assert at_work.end() == 0
        read = at_work.read("belt")
    assert [result.frame.number for result in results] == list(range(60))
    assert (read.received, read.detected, read.dropped, read.state) == (60, 60, {}, "ended")
    told = list(read_events(events))
    kinds = [event["kind"] for event in told]
    assert (kinds[0], kinds[-1]) == ("started", "stopped")
    assert sorted(kinds[1:-1]) == ["alarm", "alarm", "ended"]
    alarm = told[1]
    assert alarm["class"] == "square"
    assert alarm["source"] == "belt"
    assert alarm["picture"] == 1
    assert alarm["file"] == "belt.mp4"
    assert alarm["size"] == [160, 120]
    assert np.abs(np.array(alarm["box"]) - [6, 40, 36, 70]).max() <= 3
    close = cv2.imread(str(crops / alarm["crop"]))
    assert close is not None
    assert close.shape[0] == pytest.approx(51, abs=4)
    assert told[-1]["alarms"] == read.alarms["square"] == 2


def test_pictures_of_a_folder_stand_alone(tmp_path: Path) -> None:
    for number, picture in enumerate(draw_squares(6)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with running(source=[str(tmp_path)]) as at_work:
        assert at_work.end() == 0
        read = at_work.read(tmp_path.name)
    assert read.alarms == {"square": 6}
    assert read.dropped == {"unreadable": 1}


def test_two_recordings_of_a_folder_are_two_scenes(tmp_path: Path) -> None:
    """A defect at the end of one and at the same place at the beginning of the next is two defects."""
    still = [draw_squares(1)[0]] * 10
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", still)
    with running(source=[str(tmp_path)]) as at_work:
        assert at_work.end() == 0
        assert at_work.read(tmp_path.name).alarms == {"square": 2}


def test_a_restart_repeats_nothing_and_another_recording_is_another(video: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    for _ in range(2):
        with running(source=[str(video)], events=str(events)) as at_work:
            assert at_work.end() == 0
    assert at_work.service.journal.repeated == 2
    assert at_work.read("belt").alarms == {}
    copy = tmp_path / "belt.mp4"
    write_video(copy, draw_squares(30))
    with running(source=[str(copy)], events=str(events)) as at_work:
        assert at_work.end() == 0
    alarms = [event["id"] for event in read_events(events) if event["kind"] == "alarm"]
    assert len(alarms) == len(set(alarms)) == 3


def test_sources_that_are_watched_with_the_same_share_a_batch(adapters: Path, tmp_path: Path) -> None:
    detector = SquareFinder()
    sources: list[Any] = []
    for name, adapter in {"a": "line1", "b": "line1", "c": "line2"}.items():
        file = write_video(tmp_path / f"{name}.mp4", draw_squares(30))
        sources.append({"url": str(file), "adapter": str(adapters / f"{adapter}.safetensors")})
    with running(detector, source=sources) as at_work:
        assert at_work.end() == 0
        alarms = {name: at_work.read(name).alarms for name in "abc"}
    assert alarms == {"a": {"scratch": 1}, "b": {"scratch": 1}, "c": {"stain": 1}}
    assert set(detector.batches) <= {1, 2}
    assert detector.batches.count(2) > 20


def test_a_detector_that_is_too_slow_drops_old_pictures_and_keeps_the_newest() -> None:
    still = draw_squares(1)[0]
    with (
        MjpegServer(lambda number: still, fps=50) as camera,
        running(SquareFinder(delay=0.1), source=[{"url": camera.url, "name": "line"}]) as at_work,
    ):
        at_work.wait_for_picture("line")
        time.sleep(3)
        read = at_work.read("line")
    assert 7 < read.fps < 10.5
    assert read.dropped["busy"] > 60
    assert read.latency[2] < 0.4, "older than one detection and one picture"


def test_memory_of_results_is_bounded() -> None:
    """The judging thread stands still: the detector waits instead of filling memory with pictures."""
    still, go = draw_squares(1)[0], threading.Event()
    with (
        MjpegServer(lambda number: still, fps=100) as camera,
        running(source=[{"url": camera.url, "name": "line"}]) as at_work,
    ):
        at_work.wait_for_picture("line")
        judge = at_work.service.judging
        judge._judge = lambda result: go.wait(30)  # type: ignore[method-assign, assignment]
        time.sleep(1)
        detected = len(at_work.service.attached.detector.batches)
        time.sleep(1)
        assert len(at_work.service.attached.detector.batches) == detected
        assert at_work.service.detecting.results.full()
        assert at_work.received("line") > 100
        go.set()


def test_a_failure_of_a_thread_ends_the_service_with_it(video: Path) -> None:
    class Broken(SquareFinder):
        def predict(self, *args: Any, **options: Any) -> Any:
            if len(self.batches) > 3:
                raise RuntimeError("the graphics card fell off the bus")
            return super().predict(*args, **options)

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="fell off the bus"), running(Broken(), source=[str(video)]) as at_work:
        at_work.end()
    assert time.monotonic() - began < 25


def test_a_source_that_never_gave_a_picture_is_exit_code_1() -> None:
    with running(source=[{"url": f"rtsp://127.0.0.1:{free_port()}/", "name": "gone"}]) as at_work:
        wait_until(lambda: at_work.read("gone").state == "lost")
        assert at_work.service.health() == "degraded"
        at_work.stop.set()
        assert at_work.end() == 1


def test_mistakes_before_anything_begins(tmp_path: Path, adapters: Path) -> None:
    video = write_video(tmp_path / "a.mp4", draw_squares(2))
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"source": [str(tmp_path / "gone.mp4")]}, DataError, "no such file or folder"),
        ({"source": [str(video)], "adapters": str(tmp_path / "gone")}, ConfigError, "no such folder"),
        ({"source": [str(video)], "adapter": str(tmp_path / "gone.safetensors")}, AdapterError, "no such adapter"),
        ({"source": [str(video)], "adapter": str(adapters / "other.safetensors")}, WrongBaseError, "another base"),
        ({"source": [str(video)], "crops": str(video)}, ConfigError, "--crops"),
        ({"source": [str(video)], "segments": str(video)}, ConfigError, "--segments"),
        ({"source": [str(video)], "events": str(tmp_path)}, ConfigError, "--events"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message), running(**options):
            pass


def test_a_video_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    with (
        pytest.raises(DataError, match="not a readable video"),
        running(source=[str(tmp_path / "noise.mp4")]) as at_work,
    ):
        at_work.end()


def test_segments_hold_every_picture_of_a_file(video: Path, tmp_path: Path) -> None:
    with running(source=[str(video)], segments=str(tmp_path / "segments")) as at_work:
        assert at_work.end() == 0
    (file,) = (tmp_path / "segments").iterdir()
    capture = cv2.VideoCapture(str(file))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    capture.release()


def test_pictures_are_as_large_as_the_base_or_the_adapter_was_trained_on(adapters: Path, tmp_path: Path) -> None:
    """96 px for the base, 64 px for the adapter, unless --imgsz says something else."""
    video, adapter = write_video(tmp_path / "a.mp4", draw_squares(3)), str(adapters / "line1.safetensors")
    for options, sides in (({}, {96}), ({"adapter": adapter}, {64}), ({"imgsz": 128, "adapter": adapter}, {128})):
        detector = SquareFinder()
        with running(detector, source=[str(video)], **options) as at_work:
            assert at_work.end() == 0
        assert detector.sides == sides


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path, adapters: Path) -> None:
    video, noise, place = write_video(tmp_path / "a.mp4", draw_squares(2)), tmp_path / "noise.mp4", tmp_path / "place"
    noise.write_bytes(bytes(range(256)) * 40)
    place.mkdir()
    outputs = {name: str(place / "deep" / name) for name in ("crops", "segments")}
    cases: list[dict[str, Any]] = [
        {"source": [str(noise)]},
        {"source": [str(tmp_path / "gone.mp4")]},
        {"source": [str(video)], "adapters": str(tmp_path / "gone")},
        {"source": [str(video)], "adapter": str(tmp_path / "gone.safetensors")},
        {"source": [str(video)], "adapter": str(adapters / "other.safetensors")},
        {"source": [str(video)], "segments": str(video)},
        {"source": [str(video)], "events": str(place / "gone" / "events.jsonl")},
    ]
    for case in cases:
        options = {"events": str(place / "events.jsonl"), **outputs, **case}
        with pytest.raises(VisionLoraError), running(**options):
            pass
        assert not list(place.iterdir()), case


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ConfigError("too small")])
def test_a_detector_that_cannot_even_begin_ends_the_service(error: Exception, tmp_path: Path) -> None:
    class Broken(SquareFinder):
        def predict(self, *args: Any, **options: Any) -> Any:
            raise error

    video = write_video(tmp_path / "a.mp4", draw_squares(2))
    with pytest.raises(type(error), match=str(error)), running(Broken(), source=[str(video)]) as at_work:
        at_work.end()


def test_a_stop_is_heard_while_the_detector_warms_up() -> None:
    with running(
        SquareFinder(delay=1.0), source=[{"url": f"rtsp://127.0.0.1:{free_port()}/", "name": "gone"}]
    ) as at_work:
        at_work.stop.set()
        began = time.monotonic()
        at_work.end()
        assert time.monotonic() - began < 10
        assert at_work.kinds() == ["stopped"]


def test_names_of_files_that_are_no_text_are_reported_all_the_same(tmp_path: Path) -> None:
    folder, events = tmp_path / "in", tmp_path / "events.jsonl"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9 \x1b[2J.png")
    cv2.imwrite(str(folder / "a.png"), draw_squares(1)[0])
    (folder / "a.png").rename(folder / name)
    with running(source=[str(folder)], events=str(events)) as at_work:
        assert at_work.end() == 0
        state = json.dumps(describe(at_work.service)).encode()
    assert [event["file"] for event in read_events(events) if event["kind"] == "alarm"] == [name]
    assert b"\\udce9" in state
