"""Thousands of damaged adapter files: each is refused in one line, or read as what was saved."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters import build
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import CHECKSUM, KEY, load_adapter, save_adapter
from vision_lora.errors import AdapterError

# The same examples in every run: a failure in CI is a failure here.
fuzz = settings(
    max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["lora r2", "rows", "dora", "ssf", "lora r-1", "lora r999999999999", "\x1b[2J", "", "mix", "1"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Adapter]:
    """A scratch file, the bytes of a good one, and what they hold."""
    path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    adapter = build.adapter(build.network(), rank=1)
    save_adapter(adapter, path)
    return path, path.read_bytes(), adapter


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def assemble(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def load(path: Path, data: bytes) -> Adapter | None:
    """The adapter, or None where it was refused as it should be: nothing but AdapterError, in one printable line."""
    path.write_bytes(data)
    try:
        return load_adapter(path)
    except AdapterError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert "\x1b" not in message
        assert len(message) < 600
        return None


@fuzz
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.sampled_from(["set", "flip", "insert", "delete"]),
            st.binary(max_size=8),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_bytes_are_refused_or_without_effect(saved: Any, damages: Any) -> None:
    path, good, adapter = saved
    data = bytearray(good)
    for place, kind, noise in damages:
        # Half of the places lie in the first kilobytes, where the header is.
        at = int(place * 2 * len(data)) if place < 0.5 else int((place - 0.5) * 2 * min(3000, len(data)))
        at = min(at, len(data) - 1)
        if kind == "set":
            data[at : at + len(noise)] = noise
        elif kind == "flip":
            data[at] ^= 1 << (len(noise) % 8)
        elif kind == "insert":
            data[at:at] = noise
        else:
            del data[at : at + len(noise)]
        if not data:
            break
    found = load(path, bytes(data))
    if found is not None:
        assert found.card == adapter.card
        assert all(torch.equal(tensor, adapter.state_dict()[name]) for name, tensor in found.state_dict().items())


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inner in items for place in places(inner, (*at, key)))]


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


@fuzz
@given(st.integers(0, 10**6), JSON)
def test_any_value_anywhere_in_our_header(saved: Any, place: int, value: Any) -> None:
    path, good, _ = saved
    header, body = parts(good)
    ours = json.loads(header["__metadata__"][KEY])
    spots = places(ours)
    ours = replaced(ours, spots[place % len(spots)], value)
    header["__metadata__"] = {KEY: json.dumps(ours)}  # without a checksum: altered on purpose
    load(path, assemble(header, body))


@fuzz
@given(st.integers(0, 10**6), JSON)
def test_any_value_anywhere_in_the_table_of_tensors(saved: Any, place: int, value: Any) -> None:
    path, good, _ = saved
    header, body = parts(good)
    del header["__metadata__"][CHECKSUM]
    spots = places(header)
    load(path, assemble(replaced(header, spots[place % len(spots)], value), body))


@fuzz
@given(
    st.dictionaries(
        st.sampled_from(["gain", "shift", "up", "down", "weight", "bias"]),
        st.lists(st.sampled_from([0, 1, 2, 3, 12, 16]) | st.integers(0, 2**63), max_size=3),
    ),
    st.sampled_from(["lora r2", "rslora", "dora", "ssf", "rows", "rows joint", "lora-fa"]),
)
def test_any_shapes(saved: Any, shapes: dict[str, list[int]], treatment: str) -> None:
    path, good, _ = saved
    card = json.loads(parts(good)[0]["__metadata__"][KEY])["card"]
    table: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        numbers = 1
        for size in shape:
            numbers *= size
        start, end = end, end + min(numbers, 10_000) * 4
        table[f"mix.{name}"] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    table["__metadata__"] = {KEY: json.dumps({"format": 1, "card": card, "layers": {"mix": treatment}})}
    load(path, assemble(table, bytes(end)))


@fuzz
@given(st.binary(max_size=300), st.integers(0, 2**64 - 1) | st.integers(0, 400))
def test_any_bytes(saved: Any, noise: bytes, length: int) -> None:
    path, _, _ = saved
    assert load(path, noise) is None
    assert load(path, struct.pack("<Q", length) + noise) is None
