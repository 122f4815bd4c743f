"""Watch cameras until told to stop: live page, an alarm for each defect, recordings.

Exit codes: 0 where it was stopped, or all files have been seen; 1 where a source gave no picture at all or events could
not be written; 2 after a mistake of the user; 130 after Ctrl-C before it began to watch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rich.console import Console

from vision_lora.errors import ConfigError
from vision_lora.options.camera import CameraConfig
from vision_lora.options.command_line import run_verb
from vision_lora.system.signals import stopped_by_signals as _stopped_by_signals

if TYPE_CHECKING:
    from vision_lora.streaming.service import Service

EXTRA = ("av", "fastapi", "prometheus_client", "supervision", "trackers", "uvicorn", "websockets")


def run(config: CameraConfig, console: Console) -> int:
    """Watch until told to stop, or until all files have been seen."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise ConfigError(f"camera needs {', '.join(missing)}: pip install 'vision-lora[camera]'")
    from vision_lora.detectors.load import load_detector
    from vision_lora.streaming.service import Service
    from vision_lora.streaming.settings import read_sources
    from vision_lora.streaming.web.server import Page
    from vision_lora.system.outputs import check_file

    sources = read_sources(config)
    outputs = (config.serve, config.events, config.crops, config.segments, config.collect)
    if any(source.address.live for source in sources) and all(output is None for output in outputs):
        raise ConfigError(
            "nobody would hear of an alarm: expected --serve, --events, --crops, --segments or --collect beside it"
        )
    check_file("events", config.events)
    with ExitStack() as ending:
        page = None if config.serve is None else Page(config.host, config.serve, config.token or _token())
        if page is not None:
            ending.callback(page.stop)
        detector = load_detector(config.model, config.adapter, config.device)
        if detector.adapters.active is not None:  # attached again below, under its own name
            detector.adapters.detach(detector.adapters.active)
        stop = ending.enter_context(_stopped_by_signals())
        service = Service(config, sources, detector)
        if page is not None:
            page.serve(service)
            console.print(f"page: {page.url}", markup=False)
        for source in sources:
            console.print(f"{source.name}: {source.address.shown}", markup=False)
        code = service.run(stop, started=lambda: console.print("watching; stop with Ctrl-C", markup=False))
        if page is not None:
            page.stop()
        _tell(service, console)
    return code


def _tell(service: Service, console: Console) -> None:
    """What came of each source, in a line."""
    for name, reading in service.readings().items():
        alarms = ", ".join(f"{count} {kind}" for kind, count in reading.alarms.items()) or "no alarms"
        dropped = ", ".join(f"{count} {cause}" for cause, count in reading.dropped.items()) or "none"
        console.print(
            f"{name}: {reading.detected} of {reading.received} pictures detected (dropped: {dropped}); {alarms}",
            markup=False,
        )
    if service.journal.repeated:
        console.print(f"{service.journal.repeated} alarms were in the event log already", markup=False)


def _token() -> str | None:
    return os.environ.get("VISION_LORA_TOKEN") or None


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(CameraConfig, "camera", run, argv)


if __name__ == "__main__":
    sys.exit(main())
