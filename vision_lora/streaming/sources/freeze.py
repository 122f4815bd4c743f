"""Notices a feed that goes on while its picture stands still, byte for byte."""

from __future__ import annotations

from collections import OrderedDict

# Looked at so many times a second. A real sensor's noise changes some byte in every picture.
RATE = 5.0
# An encoder's periodic keyframe gives the same picture other bytes, the same ones each period: what has been seen
# lately is nothing new.
MEMORY = 256


class FreezeWatch:
    """Tells from checksums of pictures since when nothing new has been seen.

    Args:
        after: seconds without a new picture that count as frozen.

    Examples:
        >>> watch = FreezeWatch(after=2.0)
        >>> [watch.see(checksum, now) for now, checksum in enumerate([7, 8, 8, 7, 9])]
        [False, False, False, True, False]
    """

    def __init__(self, after: float) -> None:
        self.after = after
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._new_at: float | None = None
        self._looked_at = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time to look at a picture again; a checksum is not needed for every one.

        Args:
            now: seconds of a monotonic clock.
        """
        return now - self._looked_at >= 1 / RATE

    def see(self, checksum: int, now: float) -> bool:
        """Take note of a picture; gives whether the feed is frozen.

        Args:
            checksum: of its bytes.
            now: seconds of a monotonic clock.
        """
        self._looked_at = now
        if self._new_at is None or checksum not in self._seen:
            self._new_at = now
        self._seen[checksum] = None
        self._seen.move_to_end(checksum)
        if len(self._seen) > MEMORY:
            self._seen.popitem(last=False)
        return now - self._new_at >= self.after
