"""Watch cameras for weeks: live page, alarms once per defect, recordings."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console

from vision_lora.cli import run_verb
from vision_lora.errors import ConfigError
from vision_lora.streaming.options import CameraConfig

EXTRA = ("av", "fastapi", "prometheus_client", "supervision", "trackers", "uvicorn", "websockets")


def run(config: CameraConfig, console: Console) -> int:
    """Watch until told to stop, or until all files have been seen."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise ConfigError(f"camera needs {', '.join(missing)}: pip install 'vision-lora[camera]'")
    from vision_lora.detectors.load import load_detector
    from vision_lora.outputs import check_file
    from vision_lora.streaming.service import Service
    from vision_lora.streaming.settings import read_sources
    from vision_lora.streaming.web.server import Page

    sources = read_sources(config)
    check_file("events", config.events)
    page = None if config.serve is None else Page(config.host, config.serve, config.token or _token())
    detector = load_detector(config.model, config.adapter, config.device)
    if detector.adapters.active is not None:  # attached again below, under its own name
        detector.adapters.detach(detector.adapters.active)
    with _stopped_by_signals() as stop:
        service = Service(config, sources, detector)
        if page is not None:
            page.serve(service)
            console.print(f"page: {page.url}", markup=False)
        for source in sources:
            console.print(f"{source.name}: {source.address.shown}", markup=False)
        code = service.run(stop, started=lambda: console.print("watching; stop with Ctrl-C", markup=False))
        if page is not None:
            page.stop()
    for name, reading in service.readings().items():
        alarms = ", ".join(f"{count} {kind}" for kind, count in reading.alarms.items()) or "no alarms"
        dropped = ", ".join(f"{count} {cause}" for cause, count in reading.dropped.items()) or "none"
        console.print(
            f"{name}: {reading.detected} of {reading.received} pictures detected (dropped: {dropped}); {alarms}",
            markup=False,
        )
    if service.journal.repeated:
        console.print(f"{service.journal.repeated} alarms were in the event log already", markup=False)
    return code


def _token() -> str | None:
    return os.environ.get("VISION_LORA_TOKEN") or None


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second signal ends the process at once, as if nothing caught it."""
    stop, before = threading.Event(), {}

    def told(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, told)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(CameraConfig, "camera", run, argv)


if __name__ == "__main__":
    sys.exit(main())
