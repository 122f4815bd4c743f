"""All that happens, told once: to the event log, and to the page from memory."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from datetime import datetime, timezone
from typing import Any

from vision_lora.streaming.records.events import EventLog

RECENT = 100  # events that the page can show


class Journal:
    """Gives every event its id and time, and writes it before anybody else hears of it.

    Args:
        log: where events are kept; None keeps the last ones in memory alone.
    """

    def __init__(self, log: EventLog | None) -> None:
        self._log = log
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._lock = threading.Lock()
        self.repeated = 0

    def tell(
        self, kind: str, source: str = "", *, event_id: str = "", at: float | None = None, **details: Any
    ) -> dict[str, Any] | None:
        """Write an event down; None where the same one is in the log already.

        Args:
            kind: what happened.
            source: to which source; empty for the whole program.
            event_id: the same for the same event after a restart; empty for one that cannot happen twice.
            at: when, seconds since 1970; None for now.
            details: more of it, as JSON takes it.
        """
        moment = datetime.now(timezone.utc) if at is None else datetime.fromtimestamp(at, timezone.utc)
        event = {
            "id": event_id or uuid.uuid4().hex[:16],
            "time": moment.isoformat(timespec="milliseconds"),
            "kind": kind,
            **({"source": source} if source else {}),
            **details,
        }
        with self._lock:
            if self._log is not None and not self._log.write(event):
                self.repeated += 1
                return None
            self._recent.append(event)
        return event

    def recent(self) -> list[dict[str, Any]]:
        """The last events, oldest first."""
        with self._lock:
            return list(self._recent)

    def flush(self) -> None:
        """Try again to write what the disk refused."""
        if self._log is not None:
            with self._lock:
                self._log.flush()

    @property
    def trouble(self) -> bool:
        """Whether events wait in memory because the disk refused them."""
        return self._log is not None and self._log.trouble

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        if self._log is not None:
            with self._lock:
                self._log.close()
