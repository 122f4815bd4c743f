"""Where readers put their pictures and the detector takes them: bounded, and fair to every source."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Pictures of a file that wait to be detected.
AHEAD = 4


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source, on its way.

    Args:
        source: name of the source.
        number: how many pictures of the source came before it.
        captured: when it came, seconds of the monotonic clock.
        at: the same moment, seconds since 1970.
        clock: the source's own time, seconds, for tracking: `captured` of a live feed, the place in a video of a file.
        size: width and height, pixels.
        picture: gives it as (H, W, 3) uint8 RGB.
        key: what names it for good: the same picture of the same file has the same key after a restart.
        file: name of the file that it is from; empty for a live feed.
        alone: it has nothing to do with the picture before it.
    """

    source: str
    number: int
    captured: float
    at: float
    clock: float
    size: tuple[int, int]
    picture: Callable[[], NDArray[np.uint8]]
    key: str
    file: str = ""
    alone: bool = False


class Inbox:
    """One place a source. Of a live source the newest picture counts; those of a file are all kept, in order.

    Args:
        sources: names of the sources, and whether each is live.
        dropped: told the source and `busy` for each picture that a newer one replaces.
    """

    def __init__(self, sources: dict[str, bool], dropped: Callable[[str, str], None]) -> None:
        self._live = sources
        self._dropped = dropped
        self._places: dict[str, deque[Frame]] = {name: deque() for name in sources}
        self._changed = threading.Condition()
        self._closed = False
        self._woken = False

    def put(self, frame: Frame) -> bool:
        """Hand a picture over; of a file, wait until there is room. False once the inbox is closed."""
        place = self._places[frame.source]
        with self._changed:
            if self._live[frame.source]:
                if place:
                    place.clear()
                    self._dropped(frame.source, "busy")
            else:
                self._changed.wait_for(lambda: len(place) < AHEAD or self._closed)
            if self._closed:
                return False
            place.append(frame)
            self._changed.notify_all()
        return True

    def take(self, limit: int, timeout: float) -> list[Frame]:
        """The next picture of every source that has one; waits where none has.

        Args:
            limit: most pictures at once; who is left out is first the next time.
            timeout: longest wait, seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: any(self._places.values()) or self._closed or self._woken, timeout)
            self._woken = False
            taken: list[Frame] = []
            for name in [name for name, place in self._places.items() if place][:limit]:
                taken.append(self._places[name].popleft())
                self._places[name] = self._places.pop(name)  # to the end of the order
            if taken:
                self._changed.notify_all()
            return taken

    def wake(self) -> None:
        """Let `take` return at once, for there is something else to do."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more pictures, and let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
