"""Several processes that train together: helpers are started, watched, and end with the run, however it ends.

Lightning Fabric would start copies of the command, and end the whole run without a word where one of them ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from vision_lora.errors import TrainingError
from vision_lora.training.runs.folder import resume_command

WAIT = timedelta(days=7)  # for each other, as long as one measures: that all are alive is watched otherwise
GRACE = 8.0  # seconds that the main thread has to end by itself once a helper is dead: a collective may never return


class Together(DDPStrategy):
    """Data-parallel training with helpers in place of copies of the command.

    Args:
        helpers: to be started; None in one of them.
    """

    def __init__(self, helpers: Helpers | None) -> None:
        # A picture without boxes leaves parts of some networks out of the graph.
        super().__init__(find_unused_parameters=True, timeout=WAIT)
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        self._helpers = helpers

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = _Launcher(self.cluster_environment, self.num_processes, self.num_nodes, self._helpers)


class Helpers:
    """The other processes of a run, started by the first one.

    Attributes:
        order: what they are told, plain values; see `vision_lora.training.runs.helper`.
        out: folder of the run, once it is known; named where a helper's end ends the run.
    """

    def __init__(self) -> None:
        self.order: dict[str, Any] = {}
        self.out: Path | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._done = threading.Event()

    def start(self, count: int) -> None:
        """Start them, and watch over them from now on."""
        for rank in range(1, count + 1):
            # Standard input brings the order, and closes when this process ends: then they end too.
            process = subprocess.Popen(
                [sys.executable, "-m", "vision_lora.training.runs.helper"],
                env={**os.environ, "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                text=True,
            )
            self._processes.append(process)
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended already, which the watch tells
                process.stdin.write(json.dumps(self.order) + "\n")
                process.stdin.flush()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """The run is over: what becomes of the helpers is of no interest any more."""
        self._done.set()
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:  # noqa: PERF203 - there are few
                process.kill()

    def dead(self, seconds: float = 0.0) -> TrainingError | None:
        """The error that a helper's end is, where one has ended.

        Args:
            seconds: to wait for its end at most.
        """
        deadline = time.monotonic() + seconds
        while True:
            for rank, process in enumerate(self._processes, 1):
                if process.poll():
                    return TrainingError(self._line(rank, process))
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            if (error := self.dead()) is not None:
                if not self._done.wait(GRACE):
                    sys.stderr.write(f"error: {error}\n")
                    sys.stderr.flush()
                    os._exit(2)
                return

    def _line(self, rank: int, process: subprocess.Popen[str]) -> str:
        code = process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        then = "start the run again"
        if self.out is not None and (self.out / "state.pt").exists():
            then = f"continue with: {resume_command(self.out)}"
        return f"process {rank + 1} of {len(self._processes) + 1} (id {process.pid}) {how}; {then}"


class _Launcher(_SubprocessScriptLauncher):
    """Fabric's, with our helpers in place of copies of the command, and our watch in place of its own."""

    def __init__(self, environment: Any, processes: int, nodes: int, helpers: Helpers | None) -> None:
        super().__init__(environment, processes, nodes)
        self._helpers = helpers

    def launch(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if self._helpers is not None:
            os.environ["MASTER_ADDR"] = self.cluster_environment.main_address
            os.environ["MASTER_PORT"] = str(self.cluster_environment.main_port)
            self._helpers.start(self.num_processes - 1)
        return function(*args, **kwargs)
