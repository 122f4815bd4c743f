"""What a slow disk may hold up: pictures are written in threads of their own, beside the one that judges."""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from vision_lora.streaming.sources.inbox import Frame
from vision_lora.streaming.worker import Worker

WAITING = 8  # pictures that wait to be written; the next ones are dropped, and counted

Item = TypeVar("Item")


class Aside(Worker, Generic[Item]):
    """Takes pictures and writes them: a slow disk costs what would be written, never detections.

    Args:
        name: of the thread.
        cause: what a picture counts as that is not written.
        dropped: told the source and the cause for each of these.
    """

    def __init__(self, name: str, cause: str, dropped: Callable[[str, str], None]) -> None:
        super().__init__(name)
        self._cause = cause
        self._dropped = dropped
        self._queue: queue.Queue[tuple[Frame, Item]] = queue.Queue(WAITING)
        self._stopping = threading.Event()

    @abstractmethod
    def write(self, frame: Frame, item: Item) -> bool:
        """Write what was handed over; False where that failed."""

    def close(self) -> None:
        """Finish what is open."""

    def hand_over(self, frame: Frame, item: Item) -> None:
        """Have something of a picture written; of a live feed only if there is room for it to wait."""
        if frame.file:
            self._queue.put((frame, item))
            return
        try:
            self._queue.put_nowait((frame, item))
        except queue.Full:
            self._dropped(frame.source, self._cause)

    def stop(self) -> None:
        """Write what waits, finish it, end."""
        self._stopping.set()

    def work(self) -> None:
        while True:
            try:
                frame, item = self._queue.get(timeout=0.1)
            except queue.Empty:
                if self._stopping.is_set():
                    break
                continue
            if not self.write(frame, item):
                self._dropped(frame.source, self._cause)
        self.close()
