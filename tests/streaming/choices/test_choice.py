"""What a source is watched with is changed while the stream goes on, and a wrong change changes nothing."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.streaming.build import (
    MjpegServer,
    Running,
    adapter_files,
    draw_squares,
    results_of,
    running,
    wait_until,
)
from vision_lora.errors import AdapterError, ConfigError, VisionLoraError, WrongBaseError


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    return adapter_files(folder, line1=("scratch", "dent"), line2=("stain",), other=("foreign",))


def test_an_adapter_is_switched_without_losing_a_picture(adapters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pictures a second, twelve switches: none is dropped, and the next one is detected with the new adapter."""
    results = results_of(monkeypatch)
    pictures = draw_squares(40)
    with (
        MjpegServer(lambda number: pictures[number % 40], fps=5) as camera,
        running(
            source=[{"url": camera.url, "name": "line", "adapter": str(adapters / "line1.safetensors")}],
            adapters=str(adapters),
            mode="both",
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
        assert at_work.service.change("line", adapter=None).mode == "general"
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


def test_the_state_file_is_whole(adapters: Path, tmp_path: Path) -> None:
    still = draw_squares(1)[0]
    with (
        MjpegServer(lambda number: still, fps=20) as camera,
        running(source=[{"url": camera.url, "name": "line"}], events=str(tmp_path / "events.jsonl")) as at_work,
    ):
        at_work.wait_for_picture("line")
        at_work.service.change("line", confidence=0.6)
    assert json.loads((tmp_path / "events.state.json").read_text())["line"]["chosen"]["confidence"] == 0.6


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


@pytest.mark.parametrize(
    ("chosen", "without", "with_again"),
    [("defects", "general", "defects"), ("both", "both", "both"), ("general", "general", "defects")],
)
def test_the_mode_that_nobody_chose_follows_the_adapter(
    at_work: Running, chosen: str, without: str, with_again: str
) -> None:
    change = at_work.service.change
    change("line", adapter="line1", mode=chosen)
    assert change("line", adapter="line2").mode == chosen
    assert change("line", adapter=None).mode == without
    assert change("line", adapter="line1").mode == with_again
    change("line", adapter="line1", mode="defects")


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
