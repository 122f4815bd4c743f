"""Teach a detector new classes: data in, one small adapter file out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from vision_lora.options.command_line import run_verb
from vision_lora.options.train import TrainConfig
from vision_lora.training.terminal import Terminal


def run(config: TrainConfig, console: Console) -> None:
    """Train, and say where the result is and how to use it."""
    from vision_lora.training.session import train  # late: torch takes seconds, --help should not

    train(config, Terminal(console, verbose=config.verbose))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code: 130 after Ctrl-C or SIGTERM."""
    with _stopped_once():
        return run_verb(TrainConfig, "train", run, argv)


@contextmanager
def _stopped_once() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does; what comes after the first of them does not disturb the saving."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def stop(*_: object) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
