"""Notices that packets of a live feed come faster than they are decoded, before the wait becomes latency."""

from __future__ import annotations

# Judged over so many seconds: a burst after a short stall is decoded, standing overload is not.
WINDOW = 0.5
# A reader that waits for less than this share of the time cannot keep pace for long.
SHARE = 0.1
# While packets are thrown away, one that takes longer than this to come, seconds, is the newest there is.
NEWEST = 0.002


class Backlog:
    """Tells whether a reader has fallen behind its feed.

    A reader that keeps pace spends its time waiting for packets. One that hardly waits is emptying a queue in the
    operating system or the camera, and its pictures get older and older.

    Examples:
        >>> backlog = Backlog()
        >>> [backlog.behind(waited, now) for waited, now in [(0.03, 0.0), (0.0, 0.4), (0.0, 0.6), (0.03, 0.7)]]
        [False, False, True, False]
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._waited = 0.0
        self._behind = False

    def behind(self, waited: float, now: float) -> bool:
        """Take note of a packet; gives whether the reader is behind.

        Args:
            waited: seconds from asking for the packet until it came.
            now: seconds of a monotonic clock.
        """
        if self._since is None or (self._behind and waited >= NEWEST):
            self._since, self._waited, self._behind = now, 0.0, False
            return False
        self._waited += waited
        span = now - self._since
        if not self._behind and span >= WINDOW:
            self._behind = self._waited < SHARE * span
            self._since, self._waited = now, 0.0
        return self._behind
