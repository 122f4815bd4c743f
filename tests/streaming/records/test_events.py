"""The event log: on disk before it is told, whole lines, nothing twice, bounded."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vision_lora.errors import ConfigError
from vision_lora.streaming.records.events import EventLog, read_events
from vision_lora.streaming.records.journal import Journal

ROOT = Path(__file__).parents[3]


def event(number: int, **more: object) -> dict[str, object]:
    return {"id": f"{number:06d}", "kind": "alarm", **more}


def ids(folder: Path) -> list[str]:
    """Of all files, oldest first; every line has to parse."""
    files = [*sorted(folder.glob("events-*.jsonl")), folder / "events.jsonl"]
    return [json.loads(line)["id"] for file in files if file.exists() for line in file.read_bytes().splitlines()]


def test_killed_fifty_times_at_random_moments(tmp_path: Path) -> None:
    """Every event that was reported is there, every line parses, and nothing is there twice."""
    random.seed(8)
    told: set[str] = set()
    script, file = Path(__file__).with_name("event_writer.py"), tmp_path / "events.jsonl"
    for _ in range(50):
        again = max(
            0, max(map(int, told), default=0) - 10
        )  # what happened just before the kill happens again, as in a video file
        writer = subprocess.Popen(
            [sys.executable, str(script), str(file), str(again)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]  # it is at work
        time.sleep(random.uniform(0.0, 0.05))
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        told |= {line.decode().strip() for line in lines if line.endswith(b"\n")}
    # What a kill left unfinished is mended when the log is opened the next time.
    EventLog(tmp_path / "events.jsonl", limit=2_000, keep=1000).close()
    written = ids(tmp_path)
    assert told <= set(written)
    assert len(written) == len(set(written))
    assert written == sorted(written)
    assert len(list(tmp_path.glob("events-*.jsonl"))) > 3, "it was also killed while files were changed"


def test_a_half_line_is_cut_off_and_the_log_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    log = EventLog(file)
    log.write(event(1))
    log.close()
    with file.open("ab") as half:
        half.write(b'{"id":"000002","ki')
    log = EventLog(file)
    assert not log.write(event(1))
    assert log.write(event(2))
    log.close()
    assert ids(tmp_path) == ["000001", "000002"]


def test_files_are_changed_when_full_and_the_oldest_go(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", limit=500, keep=3)
    for number in range(100):
        log.write(event(number))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    numbers = [int(file.stem.partition("-")[2]) for file in files[:3]]
    assert numbers == [numbers[-1] - 2, numbers[-1] - 1, numbers[-1]]
    assert numbers[0] > 1
    assert all(file.stat().st_size <= 500 for file in files)
    assert ids(tmp_path) == [f"{number:06d}" for number in range(100 - len(ids(tmp_path)), 100)]


def test_nothing_is_repeated_across_a_change_of_files(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", limit=500)
    for number in range(20):
        log.write(event(number))
    log.close()
    again = EventLog(tmp_path / "events.jsonl", limit=500)
    last_two_files = [event["id"] for file in sorted(tmp_path.iterdir())[-2:] for event in read_events(file)]
    assert not any(again.write(event(int(str(number)))) for number in last_two_files)
    again.close()


def test_a_full_disk_leaves_no_half_line_and_events_follow_later(tmp_path: Path) -> None:
    """The kernel's limit on file sizes stands in for a full disk: a part is written, then an error comes."""
    log = EventLog(tmp_path / "events.jsonl")
    log.write(event(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, before[1]))
    try:
        assert log.write(event(2))
        assert log.write(event(3))
        assert log.trouble
        assert ids(tmp_path) == ["000001"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    log.flush()
    assert not log.trouble
    assert ids(tmp_path) == ["000001", "000002", "000003"]
    log.close()


def test_one_process_a_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(ConfigError, match="another process writes it"):
        EventLog(tmp_path / "events.jsonl")
    log.close()
    EventLog(tmp_path / "events.jsonl").close()


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("first line\nno end of line")
    with pytest.raises(ConfigError, match="no event log"):
        EventLog(notes)
    assert notes.read_text() == "first line\nno end of line"
    with pytest.raises(ConfigError, match="cannot be written"):
        EventLog(tmp_path)
    with pytest.raises(ConfigError, match="cannot be written"):
        EventLog(tmp_path / "gone" / "events.jsonl")


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        float("nan"),
        float("inf"),
        "x" * 200_000,
        {"x" * 9: 0.5} | {str(n): 0.5 for n in range(300_000)},
        DEEP,
    ],
    ids=["object", "set", "bytes", "nan", "inf", "long text", "large table", "deep"],
)
def test_an_event_that_cannot_be_written_is_told_and_dropped(
    tmp_path: Path, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    assert log.write({"id": "bad", "value": value})
    assert not log.trouble
    assert log.lost == 1
    assert "an event cannot be written, so it is dropped" in caplog.text
    assert log.write(event(1))
    log.close()
    assert ids(tmp_path) == ["000001"]
    EventLog(tmp_path / "events.jsonl").close()  # and the file is an event log still


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb.jpg", "\x1b[2J", "\u2028", "\0", "ß\U0001f600"])
def test_any_text_is_written_and_read_again(tmp_path: Path, text: str) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    assert log.write({"id": "1", "file": text, "thresholds": {text: 0.5}})
    log.close()
    assert [one["file"] for one in read_events(tmp_path / "events.jsonl")] == [text]
    assert (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 1


def test_a_file_that_is_moved_away_or_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write(event(1))
    path.rename(tmp_path / "old")
    log.write(event(2))
    path.unlink()
    log.write(event(3))
    assert [one["id"] for one in read_events(tmp_path / "old")] == ["000001"]
    assert [one["id"] for one in read_events(path)] == ["000003"]
    log.close()


@pytest.mark.parametrize("instead", ["folder", "fifo", "loop", "no folder", "another's"])
def test_what_stands_in_the_files_place_is_told_once_and_events_follow_later(
    tmp_path: Path, instead: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, aside = tmp_path / "log" / "events.jsonl", tmp_path / "aside"
    path.parent.mkdir()
    log, other = EventLog(path), None
    path.rename(aside)
    if instead == "folder":
        path.mkdir()
    elif instead == "fifo":
        os.mkfifo(path)
    elif instead == "loop":
        path.symlink_to(path)
    elif instead == "no folder":
        path.parent.rmdir()
    else:
        other = EventLog(path)
    for number in range(3):
        assert log.write(event(number))
    assert log.trouble
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    if other is not None:
        other.close()
    if instead == "no folder":
        path.parent.mkdir()
    else:
        path.rmdir() if path.is_dir() else path.unlink()
    aside.rename(path)
    log.flush()
    assert not log.trouble
    assert "well again" in caplog.text
    log.close()
    assert ids(path.parent) == ["000000", "000001", "000002"]


def test_a_pipe_is_no_event_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    with pytest.raises(ConfigError, match="no ordinary file"):
        EventLog(tmp_path / "events.jsonl")


def test_a_start_that_is_taken_back_leaves_no_file(tmp_path: Path) -> None:
    EventLog(tmp_path / "events.jsonl").undo()
    assert not list(tmp_path.iterdir())
    (tmp_path / "events.jsonl").touch()
    EventLog(tmp_path / "events.jsonl").undo()
    assert list(tmp_path.iterdir())


def test_a_clock_that_is_set_back_changes_nothing_but_the_time(tmp_path: Path) -> None:
    journal = Journal(EventLog(tmp_path / "events.jsonl"))
    for at in (2e9, 1e9, 0.0):
        journal.tell("alarm", "line", at=at)
    journal.close()
    years = [one["time"][:4] for one in read_events(tmp_path / "events.jsonl")]
    assert years == ["2033", "2001", "1970"]
