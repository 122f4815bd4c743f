"""Being told to stop: Ctrl-C and SIGTERM as a flag that can be set at any moment."""

from __future__ import annotations

import atexit
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STEP = 0.05  # longest time until somebody who waits sees the flag, seconds
NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """A flag, set once, that any thread may set and wait for.

    It has no lock, which `threading.Event` has: a signal's handler runs between two instructions of the main thread,
    also where these hold the lock of the very event that it would set, and waits for itself for ever.

    Examples:
        >>> stop = Stop()
        >>> stop.wait(0.01)
        False
        >>> stop.set()
        >>> stop.wait(), stop.is_set()
        (True, True)
    """

    def __init__(self) -> None:
        self._told = False

    def set(self) -> None:
        """Tell everybody who waits."""
        self._told = True

    def is_set(self) -> bool:
        """Whether somebody has been told."""
        return self._told

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; gives whether it is.

        Args:
            timeout: longest wait, seconds; None for no limit.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._told and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(STEP, left))
        return self._told


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """A flag that Ctrl-C and SIGTERM set, in the main thread alone.

    Further signals change nothing: service managers, `timeout` and an impatient hand send two, and what is being ended
    is to be ended well. After a stop, none has an effect while Python itself ends either.
    """
    stop = Stop()

    def told(_: int, __: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, told) for number in NUMBERS}
    try:
        yield stop
    finally:
        if stop.is_set():
            atexit.register(_ignore)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore() -> None:
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
