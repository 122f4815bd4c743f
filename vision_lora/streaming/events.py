"""The event log: JSON lines that are on disk before anybody hears of them, in files of bounded size."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vision_lora.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be renamed by another process either
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

# While the disk refuses, so many events wait in memory; then the oldest are lost, and counted.
WAITING = 10_000
# No event is longer, bytes: what follows the last line's end in a file is an unfinished event, or no event at all.
LONGEST = 100_000


class EventLog:
    """Appends events to a file, each as one line, each forced to the disk (fsync) before `write` returns.

    A line that a power cut left unfinished is cut off when the file is opened again. An event whose `id` is in the
    file, or in the one before it, is not written again: a restart repeats nothing.

    Args:
        path: the file; full ones are renamed, `events.jsonl` to `events-000001.jsonl` and so on.
        limit: bytes after which a file is full.
        keep: full files to keep; the oldest go.

    Raises:
        ConfigError: it cannot be opened, or another process writes it.
    """

    def __init__(self, path: Path, *, limit: int = 10_000_000, keep: int = 100) -> None:
        self.path = path
        self.limit = limit
        self.keep = keep
        self.lost = 0
        self._waiting: deque[Mapping[str, Any]] = deque()
        try:
            self._fd = self._open()
            self._cut_half_line()
        except OSError as error:
            raise ConfigError(f"--events {path}: cannot be written ({error.strerror})") from None
        self._known = [self._ids(file) for file in (*self._full()[-1:], path)]

    def write(self, event: Mapping[str, Any]) -> bool:
        """Append an event; gives False where its `id` was there already.

        Where the disk refuses, the event waits in memory for the next call, and `trouble` says so.
        """
        if any(event["id"] in ids for ids in self._known):
            return False
        self._known[-1].add(event["id"])
        if len(self._waiting) == WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(event)
        self.flush()
        return True

    def flush(self) -> None:
        """Try again to write what waits."""
        refused = self.trouble
        try:
            while self._waiting:
                self._append(json.dumps(self._waiting[0], ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                self._waiting.popleft()
        except OSError as error:
            if not refused:
                log.error("%s: cannot be written (%s); events wait in memory", self.path, error.strerror)

    @property
    def trouble(self) -> bool:
        """Whether events wait in memory because the disk refused them."""
        return bool(self._waiting)

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self.flush()
        os.close(self._fd)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._fd).st_size
        if size and size + len(line) > self.limit:
            self._rotate()
            size = 0
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # a full disk takes a part, and says so at the next call
                written += os.write(self._fd, line[written:])
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def _open(self) -> int:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                raise ConfigError(f"--events {self.path}: another process writes it; give another file") from None
        _sync_folder(self.path)
        return fd

    def _cut_half_line(self) -> None:
        size = os.fstat(self._fd).st_size
        end = size
        while end and size - end < LONGEST and os.pread(self._fd, 1, end - 1) != b"\n":
            end -= 1
        if end < size:
            if os.pread(self._fd, 1, end) != b"{":
                raise ConfigError(f"--events {self.path}: this is no event log; give another file")
            log.warning("%s: cut off %d bytes of an unfinished line", self.path, size - end)
            os.ftruncate(self._fd, end)
            os.fsync(self._fd)

    def _rotate(self) -> None:
        full = self._full()
        number = int(full[-1].stem.rpartition("-")[2]) + 1 if full else 1
        renamed = self.path.rename(self._numbered(f"{number:06d}"))
        try:
            fd = self._open()
        except OSError:
            renamed.rename(self.path)
            raise
        os.close(self._fd)
        self._fd = fd
        self._known = [self._known[-1], set()]
        for file in full[: max(0, len(full) + 1 - self.keep)]:
            file.unlink(missing_ok=True)

    def _numbered(self, number: str) -> Path:
        return self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")

    def _full(self) -> list[Path]:
        """The full files, oldest first."""
        name = re.compile(re.escape(self.path.stem) + r"-\d{6}" + re.escape(self.path.suffix))
        return sorted(file for file in self.path.absolute().parent.iterdir() if name.fullmatch(file.name))

    @staticmethod
    def _ids(file: Path) -> set[str]:
        return {str(event["id"]) for event in read_events(file) if "id" in event}


def read_events(file: Path) -> Iterator[dict[str, Any]]:
    """The events of one file, in order; lines that are no events are passed over."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event
    except FileNotFoundError:
        return


def _sync_folder(path: Path) -> None:
    """Force a new file's name to the disk; only where folders can be opened, which is not on Windows."""
    if hasattr(os, "O_DIRECTORY"):
        fd = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
