"""How long to wait before the next try to reach a camera."""

from __future__ import annotations

import random


class Backoff:
    """Waiting times that double from a tenth of a second up to a cap, each shortened by chance (jitter).

    Without the chance, cameras that failed together, behind one switch for example, would be tried together for ever.

    Args:
        cap: longest wait, seconds.
        first: longest first wait, seconds.

    Examples:
        >>> backoff = Backoff(cap=1.0)
        >>> [0.05 <= backoff.wait() <= 0.1, 0.1 <= backoff.wait() <= 0.2, 0.2 <= backoff.wait() <= 0.4]
        [True, True, True]
    """

    def __init__(self, cap: float, first: float = 0.1) -> None:
        self.cap = cap
        self.first = first
        self.tries = 0

    def wait(self) -> float:
        """Seconds to wait now, from half of the present limit to the limit."""
        limit = min(self.cap, self.first * 2.0 ** min(self.tries, 60))
        self.tries += 1
        return limit * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with short waits again."""
        self.tries = 0
