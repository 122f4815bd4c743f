"""Files that would take memory, or are broken, are refused in one line."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.detectors.checkpoints.build import refused, saved, small
from tests.detectors.fuzz_checkpoints import archive, text, tiny


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", pickle.dumps({"model": None}, 2))
        made.writestr("archive/data/0", bytes(10**6))
    refused(tmp_path / "a.pt", "its files are compressed")


def test_tensors_are_no_larger_than_their_file(tmp_path: Path) -> None:
    network = small()
    network.wide = torch.zeros(1).expand(10**5, 10**5)
    refused(saved(tmp_path, model=network), "a tensor within its storage")
    views = torch.ones(10**5)
    network.wide = [views[: 10**5 - place] for place in range(100)]  # 40 MB of 0.4
    refused(saved(tmp_path, model=network), "tensors of the file's own size")


@pytest.mark.parametrize(
    ("offset", "size", "stride", "count"),
    [(0, 5, 1, 4), (2, 3, 1, 4), (0, 2, 2**31, 4), (-1, 2, 1, 4), (0, -1, 1, 4), (0, 2, -1, 4), (0, 4, 1, 2**40)],
)
def test_tensors_stay_within_their_storage(offset: int, size: int, stride: int, count: int, tmp_path: Path) -> None:
    class Forged:
        def __reduce__(self) -> Any:
            storage = torch.zeros(4).untyped_storage()
            return torch._utils._rebuild_tensor_v2, (storage, offset, (size,), (stride,), False, OrderedDict())

    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            stored = isinstance(thing, torch.UntypedStorage)
            return ("storage", torch.FloatStorage, "0", "cpu", count) if stored else None

    Pickler(buffer, 2).dump({"weights": Forged()})
    (tmp_path / "a.pt").write_bytes(archive(buffer.getvalue(), {"data/0": bytes(16)}))
    refused(tmp_path / "a.pt", "not a readable checkpoint")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def older(file: Path) -> None:
    torch.save({"a": torch.zeros(100)}, file, _use_new_zipfile_serialization=False)


def older_cut(file: Path) -> None:
    older(file)
    cut(file)


def tar(file: Path) -> None:
    with tarfile.open(file, "w") as made:
        made.addfile(tarfile.TarInfo("storages"), io.BytesIO())


def script(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02N.")
        made.writestr("a/constants.pkl", b"\x80\x02).")


def without_storage(file: Path) -> None:
    file.write_bytes(archive(tiny()[0], {}))


def big_endian(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02N.")
        made.writestr("a/byteorder", "big")


def endless(file: Path) -> None:
    file.write_bytes(archive(b"\x80\x02" + b"]" * 300 + b"a" * 299 + b"}" + text("model") + b"N.", {}))


def deep(file: Path) -> None:
    file.write_bytes(archive(b"\x80\x02}" + text("model") + b"]" * 300 + b"a" * 299 + b"s.", {}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "not a readable checkpoint .damaged"),
        (older, "holds no network"),
        (older_cut, r"damaged: 40 bytes are missing at its end"),
        (tar, "not a readable checkpoint .damaged"),
        (script, "a TorchScript archive, which is code"),
        (without_storage, "damaged: .*There is no item named"),
        (big_endian, "big-endian"),
        (endless, "holds no network"),
        (deep, "too deep in each other"),
    ],
)
def test_broken_files_are_one_line(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, model=small())
    damage(path)
    refused(path, message)
