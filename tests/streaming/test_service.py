"""Everything wired up: sources to alarms, switches while it runs, restarts, and failures that are not hidden."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.streaming.build import (
    MjpegServer,
    Running,
    SquareFinder,
    adapter_files,
    draw_squares,
    free_port,
    results_of,
    running,
    wait_until,
    write_video,
)
from vision_lora.adapters.file import load_adapter, save_card
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


def test_an_adapter_is_switched_without_losing_a_picture(adapters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pictures a second, twelve switches: none is dropped, and the next one is detected with the new adapter."""
    results = results_of(monkeypatch)
    pictures = draw_squares(40)
    with (
        MjpegServer(lambda number: pictures[number % 40], fps=5) as camera,
        running(
            source=[{"url": camera.url, "name": "line", "adapter": str(adapters / "line1.safetensors")}],
            adapters=str(adapters),
        ) as at_work,
    ):
        wait_until(lambda: len(results) > 2)  # what FFmpeg looked at while connecting comes in one burst
        first, dropped = len(results), at_work.read("line").dropped
        for turn in range(12):
            name, learned = (("line2", {"square", "stain"}), ("line1", {"square", "scratch"}))[turn % 2]
            at_work.service.change("line", adapter=name)
            changed = time.monotonic()
            wait_until(lambda changed=changed: sum(one.frame.captured > changed for one in results) >= 3)
            after = [one for one in results if one.frame.captured > changed]
            assert {one.choice.adapter for one in after} == {name}
            assert {one.found.name(i) for one in after for i in range(len(one.found))} == learned
        assert at_work.read("line").dropped == dropped
        numbers = [result.frame.number for result in results[first:]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert at_work.kinds("line").count("switched") == 12


def test_what_nobody_has_used_for_long_is_taken_off(tmp_path: Path) -> None:
    folder = adapter_files(tmp_path / "many", **{f"a{number:02d}": ("scratch",) for number in range(12)})
    still = draw_squares(1)[0]
    with (
        MjpegServer(lambda number: still, fps=20) as camera,
        running(source=[{"url": camera.url, "name": "line"}], adapters=str(folder)) as at_work,
    ):
        at_work.wait_for_picture("line")
        on = at_work.service.attached.detector.adapters.adapters
        assert len(on) == 8
        for number in range(12):
            at_work.service.change("line", adapter=f"a{number:02d}")
            assert len(on) <= 9
        at_work.wait_for_picture("line")
        assert {key.partition("@")[0] for key in on} == {f"a{number:02d}" for number in range(3, 12)}


def test_what_cannot_be_chosen_changes_nothing(adapters: Path) -> None:
    still = draw_squares(1)[0]
    with (
        MjpegServer(lambda number: still, fps=20) as camera,
        running(
            source=[{"url": camera.url, "name": "line", "adapter": str(adapters / "line1.safetensors")}],
            adapters=str(adapters),
        ) as at_work,
    ):
        before = at_work.service.detecting.choices["line"]
        (adapters / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
        cases: list[tuple[str, dict[str, Any], type[Exception], str]] = [
            ("line", {"adapter": "../line1"}, AdapterError, "no adapter '../line1'"),
            ("line", {"adapter": "broken"}, AdapterError, "broken"),
            ("line", {"adapter": "other"}, WrongBaseError, "another base"),
            ("line", {"confidence": 3}, ConfigError, "confidence"),
            ("gone", {"confidence": 0.3}, ConfigError, "no source 'gone'"),
            ("line", {"adapter": None, "mode": "defects"}, ConfigError, "expected an adapter"),
        ]
        for source, changes, kind, message in cases:
            with pytest.raises(kind, match=message):
                at_work.service.change(source, **changes)
            assert at_work.service.detecting.choices["line"] == before
        (adapters / "broken.safetensors").unlink()
        at_work.wait_for_picture("line")
        assert at_work.service.change("line", adapter=None).mode == "both"
        assert at_work.service.change("line", thresholds={"square": 0.9}).threshold("square", general=True) == 0.9


def test_an_adapter_that_was_trained_again_is_read_again(adapters: Path, tmp_path: Path) -> None:
    folder = adapter_files(tmp_path / "own", line=("old",))
    still = draw_squares(1)[0]
    with (
        MjpegServer(lambda number: still, fps=20) as camera,
        running(source=[{"url": camera.url, "name": "line", "adapter": str(folder / "line.safetensors")}]) as at_work,
    ):
        at_work.wait_for_picture("line")
        assert at_work.service.attached.classes("line") == ("old",)
        adapter_files(folder, line=("new", "newer"))
        at_work.service.change("line", adapter="line")
        assert at_work.service.attached.classes("line") == ("new", "newer")


def test_thresholds_on_the_adapters_card_count_until_somebody_names_others(video: Path, tmp_path: Path) -> None:
    file = adapter_files(tmp_path, line=("scratch",)) / "line.safetensors"
    save_card(replace(load_adapter(file).card, thresholds={"scratch": 0.99}, rule="f1 on val"), file)
    given = {"url": str(video), "adapter": str(file), "mode": "defects"}
    for more, alarms in (({}, 0), ({"confidence": 0.5}, 1), ({"thresholds": {"scratch": 0.5}}, 1)):
        with running(source=[{**given, **more}]) as at_work:
            assert at_work.end() == 0
            assert sum(at_work.read("belt").alarms.values()) >= alarms
            assert bool(at_work.read("belt").alarms) == bool(alarms), more
            assert describe(at_work.service)["sources"][0]["choice"]["own"] == {"scratch": 0.99}


def test_a_choice_outlives_a_kill_until_the_configuration_says_something_else(adapters: Path, tmp_path: Path) -> None:
    still = draw_squares(1)[0]
    with MjpegServer(lambda number: still, fps=20) as camera:
        given = {"url": camera.url, "name": "line", "adapter": str(adapters / "line1.safetensors")}
        options: dict[str, Any] = {"adapters": str(adapters), "events": str(tmp_path / "events.jsonl")}
        with running(source=[given], **options) as at_work:
            at_work.wait_for_picture("line")
            chosen = at_work.service.change("line", adapter="line2", confidence=0.4)
        with running(source=[given], **options) as at_work:
            assert at_work.service.detecting.choices["line"] == chosen
        with running(source=[{**given, "confidence": 0.5}], **options) as at_work:
            assert at_work.service.detecting.choices["line"].adapter == "line1"
        (tmp_path / "events.state.json").write_text('{"line": {"configured": 3')
        with running(source=[given], **options) as at_work:
            assert at_work.service.detecting.choices["line"].adapter == "line1"


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


def test_the_state_file_is_whole(adapters: Path, tmp_path: Path) -> None:
    still = draw_squares(1)[0]
    with (
        MjpegServer(lambda number: still, fps=20) as camera,
        running(source=[{"url": camera.url, "name": "line"}], events=str(tmp_path / "events.jsonl")) as at_work,
    ):
        at_work.wait_for_picture("line")
        at_work.service.change("line", confidence=0.6)
    assert json.loads((tmp_path / "events.state.json").read_text())["line"]["chosen"]["confidence"] == 0.6


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


@pytest.fixture(scope="module")
def at_work(adapters: Path) -> Iterator[Running]:
    still = draw_squares(1)[0]
    with MjpegServer(lambda number: still, fps=20) as camera:
        line = {"url": camera.url, "name": "line", "adapter": str(adapters / "line1.safetensors")}
        with running(source=[line], adapters=str(adapters)) as service:
            service.wait_for_picture("line")
            yield service


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("../line", {"mode": "both"}, r"no source '\.\./line' here"),
        ("\x1b[2Jline", {"mode": "both"}, r"no source '\\x1b\[2Jline'"),
        ("\ud800", {"mode": "both"}, r"no source '\\ud800'"),
        ("l" * 5000, {"mode": "both"}, "no source 'llll"),
        ("line", {"adapter": "/etc/passwd"}, "no adapter '/etc/passwd'"),
        ("line", {"adapter": "line2.safetensors"}, "no adapter"),
        ("line", {"adapter": "../line2"}, "no adapter"),
        ("line", {"adapter": "line2\0"}, r"no adapter 'line2\\x00'"),
        ("line", {"adapter": "\ud800"}, r"no adapter '\\ud800'"),
        ("line", {"adapter": ""}, "no adapter ''"),
        ("line", {"thresholds": {"\ud800": 0.5}}, r"threshold of '\\ud800': neither the base nor the adapter"),
        ("line", {"thresholds": {"stain": 0.5}}, "threshold of 'stain'"),  # of another adapter
        ("line", {"thresholds": {"Scratch": 0.5}}, "threshold of 'Scratch'"),
        ("line", {"thresholds": {str(number): 0.5 for number in range(300_000)}}, "threshold of '0'"),
        ("line", {"thresholds": {"scratch": float("nan")}}, "threshold of 'scratch': nan"),
        ("line", {"confidence": -0.1}, "confidence: -0.1"),
    ],
)
def test_a_wrong_change_changes_nothing_and_is_one_short_line(
    at_work: Running, source: str, changes: dict[str, Any], message: str
) -> None:
    before, told = at_work.service.detecting.choices["line"], len(at_work.service.journal.recent())
    with pytest.raises(VisionLoraError, match=message) as refused:
        at_work.service.change(source, **changes)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300
    assert at_work.service.detecting.choices["line"] is before
    assert len(at_work.service.journal.recent()) == told
    at_work.wait_for_picture("line")


def test_thresholds_are_for_known_classes_and_outlive_a_switch(at_work: Running) -> None:
    wanted = {"square": 0.4, "dent": 0.6}
    assert at_work.service.change("line", thresholds=wanted).thresholds == wanted
    assert at_work.service.change("line", adapter="line2").thresholds == wanted
    wanted |= {"stain": 0.3}
    assert at_work.service.change("line", thresholds=wanted).thresholds == wanted
    assert at_work.service.change("line", adapter="line1", thresholds={}).thresholds == {}


def test_a_change_that_the_detector_has_no_time_for_is_not_made_later(
    at_work: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_lora.streaming.service.ANSWER", 0.05)
    go = threading.Event()
    busy = at_work.service.detecting.ask(lambda: go.wait(10))
    wait_until(busy.running)
    with pytest.raises(ConfigError, match=r"did not answer within 0.05 s: nothing changed"):
        at_work.service.change("line", confidence=0.9)
    go.set()
    at_work.wait_for_picture("line")
    assert at_work.service.detecting.choices["line"].confidence is None


def test_an_adapter_that_the_device_has_no_room_for_is_refused(
    at_work: Running, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(adapters / "line1.safetensors", adapters / "large.safetensors")

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(at_work.service.attached.detector, "attach", full)
        with pytest.raises(AdapterError, match="adapter 'large' cannot be attached: CUDA out of memory"):
            at_work.service.change("line", adapter="large")
    (adapters / "large.safetensors").unlink()
    at_work.wait_for_picture("line")


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
