"""A helping process of a run: `python -m vision_lora.training.runs.helper`, ordered on standard input."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options
from vision_lora.options.train import TrainConfig
from vision_lora.system import parent


@dataclass(frozen=True)
class HelperConfig(Options):
    """Help to train; started by `vision_lora.train`."""


def run(_: HelperConfig, __: Console) -> None:
    """Train as the run's other processes do."""
    # The first process is told to stop, and this one ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = json.loads(_line())
    parent.end_with_parent()
    from vision_lora.training.session import help_to_train

    help_to_train(TrainConfig(**order["config"]), Path(order["out"]), order["layers"], goes_on=bool(order["goes_on"]))


def _line() -> str:
    """The first line of standard input, nothing read beyond it."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(2)  # the process that started this one is gone
        line += byte
    return line.decode()


if __name__ == "__main__":
    sys.exit(run_verb(HelperConfig, "training.runs.helper", run))
