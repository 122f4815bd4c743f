"""The event log: JSON lines that are on disk before anybody hears of them, in files of bounded size."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vision_lora.errors import ConfigError
from vision_lora.streaming.trouble import Trouble, words

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
    file, or in the one before it, is not written again: a restart repeats nothing. Where the file is moved away or
    deleted, a new one is begun at its path.

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
        self._waiting: deque[bytes] = deque()
        self._refusal = Trouble(path)
        try:
            self._made = not path.exists()
            self._fd = self._open()
            self._cut_half_line()
        except BlockingIOError:
            raise ConfigError(f"--events {path}: another process writes it; give another file") from None
        except OSError as error:
            raise ConfigError(f"--events {path}: cannot be written ({words(error)})") from None
        self._known = [self._ids(file) for file in (*self._full()[-1:], path)]

    def write(self, event: Mapping[str, Any]) -> bool:
        """Append an event; gives False where its `id` was there already.

        Where the disk refuses, the event waits in memory for the next call, and `trouble` says so. An event that is no
        JSON, or too long, is told and dropped: no disk would ever take it.
        """
        if any(event["id"] in ids for ids in self._known):
            return False
        try:
            line = _line(event)
        except (TypeError, ValueError, RecursionError) as error:
            self.lost += 1
            log.error("%s: an event cannot be written, so it is dropped (%s)", self.path, " ".join(str(error).split()))
            return True
        self._known[-1].add(event["id"])
        if len(self._waiting) == WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(line)
        self.flush()
        return True

    def flush(self) -> None:
        """Try again to write what waits."""
        try:
            while self._waiting:
                self._append(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            self._refusal.told(f"cannot be written ({words(error)}); events wait in memory")
        else:
            self._refusal.over()

    @property
    def trouble(self) -> bool:
        """Whether events wait in memory because the disk refused them."""
        return bool(self._waiting)

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self.flush()
        os.close(self._fd)

    def undo(self) -> None:
        """Let go of the file, and delete it where it was made by this object and nothing was written."""
        empty = not os.fstat(self._fd).st_size
        os.close(self._fd)
        if self._made and empty:
            self.path.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        self._follow()
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
        # O_NONBLOCK: a pipe in the file's place is refused below, not waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
        fd = os.open(self.path, flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is no ordinary file")
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sync_folder(self.path)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _follow(self) -> None:
        """Begin a new file where another one, or none, is at the path: what was open has been moved away or deleted."""
        try:
            there = os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            there = False
        if not there:
            fd = self._open()
            os.close(self._fd)
            self._fd = fd

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


def _line(event: Mapping[str, Any]) -> bytes:
    """An event as a line of JSON, in UTF-8; what Unicode has no letters for, as in a file's name, is escaped.

    Raises:
        TypeError, ValueError, RecursionError: it is no JSON, or longer than any event.
    """
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    line = text.encode(errors="backslashreplace") + b"\n"
    if len(line) > LONGEST:
        raise ValueError(f"{len(line):,} bytes, {LONGEST:,} at most")
    return line


def _sync_folder(path: Path) -> None:
    """Force a new file's name to the disk; only where folders can be opened, which is not on Windows."""
    if hasattr(os, "O_DIRECTORY"):
        fd = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
