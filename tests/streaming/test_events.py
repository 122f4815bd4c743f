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

import pytest

from vision_lora.errors import ConfigError
from vision_lora.streaming.events import EventLog, read_events

ROOT = Path(__file__).parents[2]


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
