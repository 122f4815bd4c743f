"""What happened to one source, in numbers of fixed size: counts, rates, latency, alarms over time."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

State = Literal["connecting", "live", "frozen", "lost", "ended"]

# Latency from capture to result, seconds: the buckets of the Prometheus histogram.
BUCKETS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
LATENCIES = 1000  # the last ones, for percentiles
RATE_SPAN = 5.0  # seconds over which frames a second are counted
MINUTES = 60  # of alarm counts


@dataclass(frozen=True)
class Reading:
    """All numbers of a source at one moment.

    Attributes:
        state: how it is.
        cause: why it was lost the last time; empty where it never was.
        state_age: seconds for which it has been in this state.
        size: width and height of the last picture, pixels; zeros before the first.
        received: pictures that came.
        detected: pictures that went through the detector.
        fps: pictures detected a second, over the last 5 s.
        dropped: pictures that were thrown away, by cause.
        connects: connections that gave a picture; all but the first are reconnections.
        losses: lost connections and vain tries, by cause.
        latency: 50th, 95th and 99th percentile of the last 1000 latencies from capture to result, seconds; empty
            before the first result.
        buckets: results that took at most each of `BUCKETS`, cumulated, and all of them.
        latency_sum: seconds.
        alarms: by class.
        minutes: alarms by class in each of the last 60 minutes, oldest first.
    """

    state: State
    cause: str
    state_age: float
    size: tuple[int, int]
    received: int
    detected: int
    fps: float
    dropped: dict[str, int]
    connects: int
    losses: dict[str, int]
    latency: tuple[float, float, float] | tuple[()]
    buckets: tuple[int, ...]
    latency_sum: float
    alarms: dict[str, int]
    minutes: list[dict[str, int]]


class Stats:
    """Counts what happens to one source; any thread may tell and ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: State = "connecting"
        self._state_since = time.monotonic()
        self._cause = ""
        self._size = (0, 0)
        self._received = self._detected = self._connects = 0
        self._dropped, self._losses, self._alarms = Counter[str](), Counter[str](), Counter[str]()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._results: deque[float] = deque(maxlen=LATENCIES)
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._latency_sum = 0.0
        self._minutes: deque[tuple[int, Counter[str]]] = deque(maxlen=MINUTES)

    def enter(self, state: State) -> bool:
        """Change the state; gives whether it is another one."""
        with self._lock:
            if state == self._state:
                return False
            self._state, self._state_since = state, time.monotonic()
            return True

    def connected(self) -> None:
        """A connection gave its first picture."""
        with self._lock:
            self._connects += 1

    def lost(self, cause: str) -> None:
        """A connection was lost, or a try was in vain."""
        with self._lock:
            self._cause = cause
            self._losses[cause] += 1

    def received(self, size: tuple[int, int]) -> bool:
        """A picture came; gives whether pictures had another size before."""
        with self._lock:
            self._received += 1
            before, self._size = self._size, size
            return before not in ((0, 0), size)

    def dropped(self, cause: str) -> None:
        """A picture was thrown away."""
        with self._lock:
            self._dropped[cause] += 1

    def detected(self, latency: float) -> None:
        """A picture's result is there.

        Args:
            latency: seconds since it was captured.
        """
        with self._lock:
            self._detected += 1
            self._latencies.append(latency)
            self._results.append(time.monotonic())
            self._buckets[bisect_left(BUCKETS, latency)] += 1
            self._latency_sum += latency

    def alarmed(self, name: str) -> None:
        """An alarm of a class was given."""
        minute = int(time.monotonic() // 60)
        with self._lock:
            self._alarms[name] += 1
            if not self._minutes or self._minutes[-1][0] != minute:
                self._minutes.append((minute, Counter()))
            self._minutes[-1][1][name] += 1

    def read(self) -> Reading:
        """All numbers now."""
        now = time.monotonic()
        with self._lock:
            recent = [moment for moment in self._results if now - moment <= RATE_SPAN]
            minutes = {minute: dict(counts) for minute, counts in self._minutes}
            present = int(now // 60)
            return Reading(
                state=self._state,
                cause=self._cause,
                state_age=now - self._state_since,
                size=self._size,
                received=self._received,
                detected=self._detected,
                fps=_rate(recent, now),
                dropped=dict(self._dropped),
                connects=self._connects,
                losses=dict(self._losses),
                latency=_percentiles(self._latencies),
                buckets=tuple(int(count) for count in np.cumsum(self._buckets)),
                latency_sum=self._latency_sum,
                alarms=dict(self._alarms),
                minutes=[minutes.get(minute, {}) for minute in range(present - MINUTES + 1, present + 1)],
            )


def _rate(moments: list[float], now: float) -> float:
    """Intervals a second since the first of some moments: falls when no more come."""
    return (len(moments) - 1) / (now - moments[0]) if len(moments) > 1 and now > moments[0] else 0.0


def _percentiles(latencies: deque[float]) -> tuple[float, float, float] | tuple[()]:
    if not latencies:
        return ()
    p50, p95, p99 = (float(value) for value in np.percentile(np.fromiter(latencies, float), (50, 95, 99)))
    return p50, p95, p99
