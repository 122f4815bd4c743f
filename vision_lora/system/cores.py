"""How many CPU threads compute: as many as other programs leave cores.

The threads of a layer wait for its slowest. One that has to share its core with another program holds all of them up,
and those that wait keep their cores busy meanwhile: on two cores with one other busy program, two threads train at a
tenth to a quarter of their rate alone, one thread at almost all of its own. Telling OpenMP to wait asleep instead costs
a third of the rate alone, and more with small pictures (data/results/threads.json).
"""

from __future__ import annotations

import logging
import math
import os
import time

import psutil
import torch

log = logging.getLogger(__name__)

LOOK = 0.2  # seconds to look around before the first thread starts
EVERY = 5.0  # seconds between two looks during a run
ENOUGH = 0.4  # share of a core that has to be free for a thread of its own

_MOST = torch.get_num_threads()  # what torch would take: the cores, or OMP_NUM_THREADS


class Others:
    """What other programs take of the cores that this one may use."""

    def __init__(self) -> None:
        self.cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self._before = self._now()

    @property
    def count(self) -> int:
        """Cores that this program may use."""
        return len(self.cores) if self.cores else os.cpu_count() or 1

    def taken(self) -> float:
        """Cores' worth of time that others have taken since the last call, by the time passed."""
        then, busy, own = self._before
        self._before = now, busy_now, own_now = self._now()
        return max(0.0, (busy_now - busy) - (own_now - own)) / max(now - then, 1e-3)

    def _now(self) -> tuple[float, float, float]:
        """The time, seconds that our cores were busy, and seconds that this program and its helpers were."""
        every = psutil.cpu_times(percpu=True)
        chosen = [every[core] for core in self.cores if core < len(every)] if self.cores else every
        idle = sum(times.idle + getattr(times, "iowait", 0.0) for times in chosen)
        # Time that guests take is counted in `user` as well.
        total = sum(sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0) for times in chosen)
        return time.monotonic(), total - idle, _own_seconds()


def _own_seconds() -> float:
    """CPU time of this program and of the processes that it has started."""
    program = psutil.Process()
    own = program.cpu_times()
    seconds = own.user + own.system + getattr(own, "children_user", 0.0) + getattr(own, "children_system", 0.0)
    for child in program.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        seconds += times.user + times.system
    return float(seconds)


def loader_processes(wanted: int | str, device: torch.device, processes: int = 1) -> int:
    """Processes that load pictures for each of those that train.

    One keeps up with the steps of a CPU and takes little of it. A GPU waits for pictures where it can: 12 load 1,700 a
    second of 320 px (an H100 beside 16 cores), about what a small detector learns from.

    Args:
        wanted: how many, or `auto`.
        device: that computes.
        processes: that train together on this machine.
    """
    if isinstance(wanted, int):
        return wanted
    return 1 if device.type == "cpu" else max(1, min(12, Others().count // processes - 1))


class Threads:
    """The threads that torch computes with, followed through a run.

    Args:
        wanted: how many; 0 for as many as others leave cores, and no more than torch would take (`OMP_NUM_THREADS`).
        processes: that train together on this machine.
    """

    def __init__(self, wanted: int = 0, *, processes: int = 1) -> None:
        self._follows = wanted == 0 and processes == 1
        self._others = Others()
        if wanted == 0:
            time.sleep(LOOK)
            wanted = max(1, self._left() // processes)
        torch.set_num_threads(wanted)
        self._looked = time.monotonic()

    def adapt(self) -> None:
        """Look around now and then, and make room for others, or take up what they have left."""
        if not self._follows or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        threads = self._left()
        if threads != torch.get_num_threads():
            log.info("other programs leave %d of %d cores: as many threads compute", threads, self._others.count)
            torch.set_num_threads(threads)

    def _left(self) -> int:
        free = self._others.count - self._others.taken()
        return max(1, min(_MOST, math.floor(free + 1 - ENOUGH)))
