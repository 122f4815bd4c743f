"""What goes wrong again and again, told once."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Trouble:
    """Logs the first failure of many, and the end of them: a full disk must not fill a log ten times a second.

    Args:
        what: fails, for the log.
    """

    def __init__(self, what: object) -> None:
        self.what = what
        self.now = False

    def told(self, reason: str) -> None:
        """It failed."""
        if not self.now:
            log.error("%s: %s", self.what, reason)
        self.now = True

    def over(self) -> None:
        """It went well."""
        if self.now:
            log.warning("%s: well again", self.what)
        self.now = False


def words(error: OSError) -> str:
    """Why, in words: an error of the operating system has them, one that Python raises by itself may have none."""
    return error.strerror or type(error).__name__
