"""Runs the camera at full load and tells whether it stays as it was: memory, latency, threads, open files.

`python -m vision_lora.benchmarks.soak --model yolo11n.pt --minutes 30 --json data/results/camera/soak.json`
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from vision_lora.benchmarks.rehearsal import at_work, bare_detector, live_feed, machine, video_of, wait_for_results
from vision_lora.options import common
from vision_lora.options.camera import CameraConfig
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.streaming.service import Service
from vision_lora.streaming.web.server import Page
from vision_lora.system.outputs import check_file, write_json

SOURCES = ("left", "right")


@dataclass(frozen=True)
class SoakConfig(Options):
    """Watch two live feeds that are faster than the detector, with page, events, close-ups and recordings."""

    model: str | None = option(None, "base detector: path or official name; default: the base that the adapter names")
    adapter: str | None = option(None, "adapter file; without it the base alone is used")
    imgsz: int | None = common.side(None, "side of the square pictures; default: the adapter's, or the base's")
    video: str | None = option(None, "video to watch; default: a drawn one, 640 x 360 pixels")
    fps: float = option(60.0, "pictures a second of each feed; more than the detector manages", more_than=0)
    minutes: int = option(30, "how long; the minute before is for warming up", at_least=2)
    minute: float = option(60.0, "length of such a minute, to try the program itself", more_than=0, unit="seconds")
    json: str | None = option(None, "file for the result as JSON")


@dataclass(frozen=True)
class Minute:
    """How things were at the end of a minute.

    Attributes:
        resident_mib: memory of the process.
        p99_ms: 99th percentile of the last latencies, the worse of both feeds.
        fps: pictures detected a second, both feeds.
        threads: of the process.
        files: that it holds open.
        alarms: since the start.
    """

    resident_mib: float
    p99_ms: float
    fps: float
    threads: int
    files: int
    alarms: int


def run(config: SoakConfig, console: Console) -> int:
    """Watch, print each minute, write JSON where asked; exit code 1 where memory or latency grew beyond the bars."""
    target = check_file("json", config.json, endings=(".json",))
    with tempfile.TemporaryDirectory() as folder:
        video = video_of(config.video, Path(folder), 250)
        options = CameraConfig(
            source=["-"],
            model=config.model,
            adapter=config.adapter,
            mode="both",  # the longer way
            imgsz=config.imgsz,
            events=str(Path(folder) / "events.jsonl"),
            crops=str(Path(folder) / "crops"),
            segments=str(Path(folder) / "segments"),
            keep_gb=0.2,
            freeze=86400,  # the feed is a video that begins anew every few seconds: nothing in it is new for long
        )
        detector = bare_detector(options)
        with live_feed(video, config.fps) as url:
            sources = [{"url": url, "name": name} for name in SOURCES]
            with at_work(options, sources, detector) as service, _somebody_looks(service):
                for name in SOURCES:
                    wait_for_results(service, name, 10)
                minutes = list(_minutes(service, config, console))
    first, last = minutes[0], minutes[-1]
    growth = last.resident_mib / first.resident_mib - 1
    latency = last.p99_ms / first.p99_ms
    console.print(
        f"memory grew by {growth:.2%} (bar 2 %), p99 of the last minute is {latency:.2f} of the first (bar 1.2), "
        f"threads {first.threads} to {last.threads}, files {first.files} to {last.files}"
    )
    if target is not None:
        result: dict[str, Any] = {
            "config": asdict(config),
            "machine": machine(),
            "growth": growth,
            "p99_ratio": latency,
        }
        write_json(target, {**result, "minutes": [asdict(minute) for minute in minutes]})
    return int(growth >= 0.02 or latency > 1.2)


def _minutes(service: Service, config: SoakConfig, console: Console) -> Iterator[Minute]:
    """The minutes after the one in which everything reaches its working size."""
    process = psutil.Process()
    for number in range(config.minutes + 1):
        time.sleep(config.minute)
        readings = service.readings().values()
        minute = Minute(
            resident_mib=process.memory_info().rss / 2**20,
            p99_ms=max(reading.latency[2] for reading in readings if reading.latency) * 1000,
            fps=sum(reading.fps for reading in readings),
            threads=threading.active_count(),
            files=process.num_fds(),
            alarms=sum(sum(reading.alarms.values()) for reading in readings),
        )
        console.print(
            f"{number:3d} min  {minute.resident_mib:7.1f} MiB  p99 {minute.p99_ms:6.1f} ms  {minute.fps:5.1f} fps  "
            f"{minute.threads} threads  {minute.files} files  {minute.alarms} alarms",
        )
        if number:
            yield minute


@contextmanager
def _somebody_looks(service: Service) -> Iterator[None]:
    """The page, and a browser that looks at it all the time."""
    page, done = Page("127.0.0.1", 0, None), threading.Event()
    page.serve(service)

    def look() -> None:
        with suppress(WebSocketException), connect(page.url.replace("http", "ws") + "api/live") as socket:
            while not done.is_set():
                socket.send("more")
                for _ in json.loads(socket.recv())["pictures"]:
                    socket.recv()

    viewer = threading.Thread(target=look, daemon=True)
    viewer.start()
    try:
        yield
    finally:
        done.set()
        viewer.join(5)
        page.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(SoakConfig, "benchmarks.soak", run, argv)


if __name__ == "__main__":
    sys.exit(main())
