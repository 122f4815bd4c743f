"""Files of the user's, read without surprise: only regular ones, only up to a size, and never waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vision_lora.errors import DataError

LABEL_BYTES = 16 * 2**20  # of one picture's labels: a hundred thousand boxes
INDEX_BYTES = 4 * 2**30  # of a list of pictures or a COCO JSON: fifteen million boxes

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def irregular(path: Path) -> str:
    """Why a path is no regular file, in words; empty where it is one. Opens nothing, so that no pipe is waited for."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"a link to nothing ({os.path.realpath(path)})" if os.path.islink(path) else "no such file"
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    return "" if stat.S_ISREG(mode) else next((words for is_kind, words in _KINDS if is_kind(mode)), "no regular file")


def read_bytes(path: Path, most: int) -> bytes:
    """What a regular file holds.

    Args:
        path: the file.
        most: bytes that are read at most.

    Raises:
        DataError: missing, no regular file, larger than `most`, or not readable.
    """
    if found := irregular(path):
        raise DataError(f"{path}: {found}; expected a file")
    try:
        size = path.stat().st_size
        if size > most:
            raise DataError(f"{path}: {size:,} bytes; expected at most {most:,}")
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: Path, most: int) -> str:
    """What a regular file of UTF-8 text holds; a byte order mark is dropped.

    Args:
        path: the file.
        most: bytes that are read at most.

    Raises:
        DataError: as `read_bytes`; or not UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: bytes that are no text in UTF-8 (byte {error.start}); save it as UTF-8") from None
