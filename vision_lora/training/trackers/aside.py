"""Trackers beside a run: opened by name, told from a thread of their own, and never in its way."""

from __future__ import annotations

import importlib
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from vision_lora.errors import ConfigError
from vision_lora.system.outputs import write_json
from vision_lora.training.loop.listener import Brief, Listener
from vision_lora.training.runs.summary import Summary

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds that a run waits for a tracker, before its first step and at its end
_FILE = "trackers.json"  # in the run's folder: what each tracker calls the run


def open_trackers(names: str | None) -> list[Listener]:
    """Trackers by the names of `--log`.

    Args:
        names: by comma, such as `tensorboard,mlflow`; None for none. Each is a file beside this one with a `Tracker`.

    Raises:
        ConfigError: one whose library is not installed.
    """
    return [Aside(name, _made(name)) for name in (names or "").split(",") if name]


def _made(name: str) -> Listener:
    """A tracker, which imports its library only now: it may take seconds, or be missing."""
    module = importlib.import_module(f"{__package__}.{name}")
    try:
        tracker: Listener = module.Tracker()
    except ImportError as error:
        raise ConfigError(
            f"--log {name}: {error.name or error} is not installed; pip install 'vision-lora[{name}]', or leave {name} "
            "out"
        ) from error
    return tracker


def run_name(folder: Path, tracker: str) -> str | None:
    """What a tracker calls the run of a folder; None where it was never told of it."""
    return _names(folder).get(tracker)


def keep_run_name(folder: Path, tracker: str, name: str) -> None:
    """Write down what a tracker calls a run, so that a resumed one goes on there."""
    write_json(folder / _FILE, {**_names(folder), tracker: name})


def _names(folder: Path) -> dict[str, str]:
    file = folder / _FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


class Aside(Listener):
    """Tells a tracker what it hears, one thing after the other, in a thread.

    A server that is slow holds no step up. One that fails, with whatever error, is told once and left alone from then
    on: training is worth more than its record.

    Args:
        name: the tracker's, for messages.
        tracker: who is told of the start, of each epoch and of the end.
    """

    def __init__(self, name: str, tracker: Listener) -> None:
        self._name, self._tracker = name, tracker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: deque[Future[None]] = deque()
        self._broken = False

    def started(self, brief: Brief) -> None:
        self._tell(self._tracker.started, brief)
        wait(self._waiting, PATIENCE)  # processes that load pictures are forked next, best while nothing else runs
        self._look()

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        self._tell(self._tracker.validated, dict(row), best=best)

    def ended(self, summary: Summary) -> None:
        self._tell(self._tracker.ended, summary)

    def closed(self) -> None:
        self._tell(self._tracker.closed)
        if wait(self._waiting, PATIENCE).not_done:
            self._leave(f"no answer within {PATIENCE:g} s")
        self._look()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _tell(self, call: Callable[..., None], *args: Any, **options: Any) -> None:
        self._look()
        if not self._broken:
            self._waiting.append(self._thread.submit(call, *args, **options))

    def _look(self) -> None:
        """See what has become of what was told."""
        while self._waiting and self._waiting[0].done():
            error = self._waiting.popleft().exception()
            if error is not None:
                self._leave(" ".join(f"{type(error).__name__}: {error}".split())[:300])

    def _leave(self, why: str) -> None:
        log.warning("--log %s: %s; the run goes on without it, and all of it is in its folder", self._name, why)
        self._broken = True
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
