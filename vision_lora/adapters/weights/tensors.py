"""Safetensors files from strangers: read within limits, or refused in one line."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from vision_lora.errors import BrokenAdapterError, reason

# An adapter of the largest detector is some ten megabytes with a header of some hundred kilobytes. What is beyond these
# limits is no adapter, and is refused before it takes memory.
MAX_BYTES = 2**30
MAX_HEADER = 2**22


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file whole: its tensors by name, and its metadata.

    Tensors lie in memory of their own: the file may be replaced or removed afterwards.

    Raises:
        BrokenAdapterError: no such layout, truncated, too large, or with a name twice.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BrokenAdapterError(f"{path}: {size:,} bytes; an adapter has at most {MAX_BYTES:,}")
        with path.open("rb") as file:
            start = file.read(8)
            length = _header_length(path, start)
            header = file.read(length)
            # Its header comes first: what is no adapter takes no memory, however large the file is.
            metadata = _metadata(header)
            return load(b"".join((start, header, file.read()))), metadata
    except OSError as error:
        raise BrokenAdapterError(f"{path}: cannot be read ({error.strerror})") from error
    # safetensors checks offsets and sizes; torch refuses types that it does not have (KeyError) and sizes beyond its
    # integers (RuntimeError, TypeError).
    except (SafetensorError, ValueError, RecursionError, KeyError, RuntimeError, TypeError, AssertionError) as error:
        raise BrokenAdapterError(
            f"{path}: truncated or altered: no readable safetensors file ({brief(error)})"
        ) from error


def _header_length(path: Path, start: bytes) -> int:
    """What a file's first eight bytes say."""
    if len(start) < 8:
        raise BrokenAdapterError(f"{path}: truncated or no safetensors file ({len(start)} bytes)")
    length: int = struct.unpack("<Q", start)[0]
    if length > MAX_HEADER:
        raise BrokenAdapterError(
            f"{path}: no safetensors file, or altered: it claims a header of {length:,} bytes (at most {MAX_HEADER:,})"
        )
    return length


def _metadata(header: bytes) -> dict[str, str]:
    values = json.loads(header, object_pairs_hook=reject_doubles)
    metadata = values.get("__metadata__", {}) if isinstance(values, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its header is no table of tensors")
    return metadata


def reject_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: a table, unless a name stands in it twice, where readers differ on which one counts.

    Raises:
        ValueError: a name is there twice.
    """
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"the name {name!r} is there twice")
        table[name] = value
    return table


def brief(error: Exception) -> str:
    """What an error says of a stranger's file, in one short line without control sequences for a terminal."""
    text = reason(error)[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
