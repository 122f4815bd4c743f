"""Runs cells, each in a process of its own, some side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from vision_lora.comparison.cells.cell import Cell

LOG = "log.txt"


class Runner:
    """Starts processes of `vision_lora.comparison.cells.process`, and ends them when it is left.

    Args:
        jobs: how many run at once; they share the processor's cores.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, cells: Iterable[tuple[Cell, bool]], finished: Callable[[Cell, str | None], None]) -> None:
        """Run cells; one that fails does not stop the others.

        Args:
            cells: those with something left to do, whose orders are written, and whether each is to be scored as well.
            finished: called after each, with None, or with the last line that a failed one said.
        """
        pool = ThreadPoolExecutor(self.jobs)
        try:
            futures = {pool.submit(self._one, cell, score): cell for cell, score in cells}
            for future in as_completed(futures):
                finished(futures[future], future.result())
        finally:  # after Ctrl-C too
            self._stop()
            pool.shutdown(cancel_futures=True)

    def _one(self, cell: Cell, score: bool) -> str | None:  # noqa: FBT001 - passed on by the pool
        log = cell.folder / LOG
        command = [sys.executable, "-m", "vision_lora.comparison.cells.process", str(cell.folder), "--with-parent"]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = {"OMP_NUM_THREADS": str(max(1, cores // self.jobs))} if self.jobs > 1 else {}
        environment = {**threads, **os.environ}
        with log.open("ab") as output, self._lock:
            if self._stopped:
                return "not started"
            # Standard input tells the cell of our end: it closes when this process ends, however it ends. A session of
            # its own keeps Ctrl-C, which the terminal sends to all, from the cell.
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, "--score"] if score else command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
            self._processes.add(process)
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        return None if code == 0 else _last_line(log)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = bool(self._processes)
            for process in self._processes:
                assert process.stdin is not None, "opened as a pipe"
                process.stdin.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "ended without a word").removeprefix(
        "error: "
    )
