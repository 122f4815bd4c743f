"""Files of `torch.save`, in both layouts, read with the closed unpickler: nothing in them is ever called.

Since torch 1.6 they are zip archives of `NAME/data.pkl` and a file a storage, `NAME/data/KEY`, none of them compressed.
Before, and in torchvision's older weights, they are pickles in a row (magic number, version, system, the object, the
keys of its storages), and then the storages, each behind the number of its elements in 8 bytes.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import Tensor

from vision_lora.detectors.checkpoints.unpickler import RefusedPickleError, Storage, unpickle

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the older layout
KINDS = {
    f"torch.{name}Storage": kind
    for name, kind in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}


class Layout(Protocol):
    """A file in one of the layouts.

    Attributes:
        content: what its pickle describes, see `unpickle`.
    """

    content: Any

    def data(self, storage: Storage) -> bytearray:
        """The bytes of a storage."""


class TorchFile:
    """What an open file of `torch.save` holds: the object as records, and the numbers of its tensors on demand.

    Args:
        layout: the file.
        size: of the file, bytes.

    Attributes:
        content: what its pickle describes, see `unpickle`.
        size: as given.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        self.content, self.size = layout.content, size
        self._layout = layout
        self._numbers: dict[str, Tensor] = {}

    def numbers(self, storage: Storage) -> Tensor:
        """The numbers of a storage, (count,), in memory; the same tensor each time.

        Raises:
            RefusedPickleError: it is not in the file, or not as it is said to be.
        """
        if storage.key not in self._numbers:
            kind = kind_of(storage)
            data = self._layout.data(storage)
            if len(data) != storage.count * kind.itemsize:
                raise RefusedPickleError(f"damaged: a storage has {len(data):,} bytes, not {storage.count:,} numbers")
            numbers = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
            self._numbers[storage.key] = numbers.clone()  # into memory as torch aligns it
        return self._numbers[storage.key]


@contextmanager
def open_torch_file(path: Path, allowed: Collection[str]) -> Iterator[TorchFile]:
    """Open a file of `torch.save`; its tensors' numbers can be had within the context.

    Args:
        path: the file.
        allowed: names of code that it may hold, beside torch's storages.

    Raises:
        RefusedPickleError: damaged, or with other names in it; within the context too.
        OSError: it cannot be read; likewise.
    """
    names = frozenset({*allowed, *KINDS})
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    yield TorchFile(_Archive(archive, size, names), size)
            else:
                file.seek(0)
                yield TorchFile(_Older(file, size, names), size)
    # What zipfile raises on damaged archives, beside OSError.
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, LookupError, struct.error) as error:
        raise RefusedPickleError(f"damaged: {' '.join(str(error).split())[:100]}") from error


class _Archive:
    """The zip archive."""

    def __init__(self, archive: zipfile.ZipFile, size: int, names: Collection[str]) -> None:
        self.archive = archive
        entries = archive.infolist()
        folders = [entry.filename[: -len("data.pkl")] for entry in entries if entry.filename.endswith("/data.pkl")]
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise RefusedPickleError("a TorchScript archive, which is code; expected the checkpoint it was made of")
        if len(folders) != 1:
            raise RefusedPickleError("no archive of torch.save: it has no data.pkl, or several")
        # torch compresses nothing, and so no archive holds more than its own size.
        packed = any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > size:
            raise RefusedPickleError("no archive of torch.save: its files are compressed")
        self.folder = folders[0]
        if f"{self.folder}byteorder" in archive.namelist() and archive.read(f"{self.folder}byteorder") != b"little":
            raise RefusedPickleError("its numbers are big-endian: save it again on a little-endian machine")
        self.content = unpickle(BytesIO(archive.read(f"{self.folder}data.pkl")), names)

    def data(self, storage: Storage) -> bytearray:
        return bytearray(self.archive.read(f"{self.folder}data/{storage.key}"))


class _Older:
    """The pickles in a row."""

    def __init__(self, file: IO[bytes], size: int, names: Collection[str]) -> None:
        self.file = file
        if (unpickle(file, ()), unpickle(file, ())) != (MAGIC, VERSION):
            raise RefusedPickleError("no file of torch.save")
        system = unpickle(file, ())
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise RefusedPickleError("its numbers are big-endian: save it again on a little-endian machine")
        storages: dict[str, Storage] = {}
        self.content = unpickle(file, names, storages)
        keys = unpickle(file, ())
        if not isinstance(keys, list) or keys != sorted(storages):
            raise RefusedPickleError("damaged: its list of storages is another one")
        self.places: dict[str, int] = {}
        place = file.tell()
        for key in keys:
            self.places[key] = place
            place += 8 + storages[key].count * kind_of(storages[key]).itemsize
        if place > size:
            raise RefusedPickleError(f"damaged: {place - size:,} bytes are missing at its end")

    def data(self, storage: Storage) -> bytearray:
        self.file.seek(self.places[storage.key])
        if self.file.read(8) != struct.pack("<q", storage.count):
            raise RefusedPickleError("damaged: a storage has another size than is said of it")
        return bytearray(self.file.read(storage.count * kind_of(storage).itemsize))


def kind_of(storage: Storage) -> torch.dtype:
    """What numbers a storage holds."""
    if storage.kind not in KINDS:
        raise RefusedPickleError(f"damaged: {storage.kind} is no storage")
    return KINDS[storage.kind]
