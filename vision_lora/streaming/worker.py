"""A thread whose failure is noticed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import ExitStack
from types import TracebackType


class Worker(ABC):
    """A daemon thread, so that a native call that hangs in it never keeps the process alive.

    What `work` raises is kept until somebody calls `check`: a process that has lost a thread must end, not go on
    without it.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._error: BaseException | None = None

    @abstractmethod
    def work(self) -> None:
        """What the thread does."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the end of it; gives whether it ended in time.

        Args:
            timeout: longest wait, seconds.
        """
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Raise what ended it, if it did not end by itself."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        with ExitStack() as stack:
            stack.push(self._keep)
            self.work()

    def _keep(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        self._error = error
        return True
