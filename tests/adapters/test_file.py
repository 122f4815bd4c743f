"""The adapter file: complete, safe to read, and a named exception for each way in which it can be wrong."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.adapters import build
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import CHECKSUM, KEY, load_adapter, save_adapter
from vision_lora.adapters.weights.deltas import VARIANTS, NewRows
from vision_lora.adapters.weights.tensors import MAX_BYTES
from vision_lora.errors import AdapterError, BrokenAdapterError, NewerAdapterError, VisionLoraError

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    save_adapter(build.adapter(build.network()), path)
    return path


def rewrite(
    file: Path,
    *,
    header: Callable[[dict[str, Any]], None] = lambda header: None,
    tensors: Callable[[dict[str, torch.Tensor]], None] = lambda tensors: None,
) -> None:
    """Alter a file as somebody would who knows the format: with no checksum, which is optional."""
    values = json.loads(metadata(file)[KEY])
    stored = load_file(file)
    header(values)
    tensors(stored)
    save_file(stored, file, metadata={KEY: json.dumps(values)})


def metadata(file: Path) -> dict[str, str]:
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])["__metadata__"]


def raw(file: Path, header: bytes, body: bytes = b"") -> None:
    file.write_bytes(struct.pack("<Q", len(header)) + header + body)


@pytest.mark.parametrize("variant", VARIANTS)
def test_base_and_file_give_the_adapted_network_again(variant: str, tmp_path: Path) -> None:
    net = build.network()
    adapter = build.adapter(net, variant)
    adapters = build.adapter_set(net)
    adapters.attach(adapter)
    expected = net(IMAGES)
    adapters.detach()
    save_adapter(adapter, tmp_path / "a.safetensors")

    loaded = load_adapter(tmp_path / "a.safetensors")
    adapters.attach(loaded)
    assert torch.equal(net(IMAGES), expected)
    assert loaded.card == adapter.card
    assert [type(delta) for delta in loaded.deltas.values()] == [type(delta) for delta in adapter.deltas.values()]
    learned = {name for name, parameter in adapter.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in loaded.named_parameters() if parameter.requires_grad} == learned


def test_header_says_how_each_layer_is_adapted(file: Path) -> None:
    layers = json.loads(metadata(file)[KEY])["layers"]
    assert layers == {
        "body.0": "lora r2",
        "body.2": "ssf",
        "body.3": "lora r2",
        "body.5": "lora r2",
        "body.6": "lora r2",
        "mix": "lora r2",
        "classify": "rows",
    }


def test_card_survives_with_metrics_and_any_class_name(tmp_path: Path) -> None:
    adapter = build.adapter(build.network())
    card = replace(adapter.card, names=("刮痕", "a b", 'quote"d'), metrics={"map50": 0.5, "per_class": {"a b": None}})
    save_adapter(Adapter(adapter.deltas, card), tmp_path / "a.safetensors")
    assert load_adapter(tmp_path / "a.safetensors").card == card


def test_rows_behind_the_old_ones_stay_there(tmp_path: Path) -> None:
    adapter = build.adapter(build.network())
    adapter.class_rows["classify"].keep = True
    save_adapter(adapter, tmp_path / "a.safetensors")
    rows = load_adapter(tmp_path / "a.safetensors").deltas["classify"]
    assert isinstance(rows, NewRows)
    assert rows.keep


def test_half_precision_is_half_the_size_and_read_as_fp32(tmp_path: Path) -> None:
    adapter = build.adapter(build.network(), rank=8)
    save_adapter(adapter, tmp_path / "full.safetensors")
    save_adapter(adapter, tmp_path / "half.safetensors", dtype=torch.float16)
    numbers = sum(parameter.numel() for parameter in adapter.parameters())
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[0] - sizes[1] == pytest.approx(2 * numbers, abs=200)
    loaded = load_adapter(tmp_path / "half.safetensors").state_dict()
    for name, tensor in adapter.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float())


def test_a_new_process_computes_the_same(file: Path, tmp_path: Path, one_thread: None) -> None:
    net = build.network()
    adapters = build.adapter_set(net)
    adapters.attach(load_adapter(file))
    code = (
        "import sys, torch\n"
        "from tests.adapters import build, test_file\n"
        "from vision_lora.adapters.file import load_adapter\n"
        "torch.set_num_threads(1)\n"
        "net = build.network()\n"
        "build.adapter_set(net).attach(load_adapter(sys.argv[1]))\n"
        "torch.save(net(test_file.IMAGES), sys.argv[2])\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code, str(file), str(tmp_path / "out.pt")],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True), net(IMAGES))


def test_loaded_tensors_do_not_depend_on_the_file(file: Path) -> None:
    loaded = load_adapter(file)
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(0)
        stream.write(b"\xff" * size)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())


def test_an_older_file_stays_where_the_new_one_cannot_be_written(file: Path) -> None:
    before = file.read_bytes()
    adapter = build.adapter(build.network())
    adapter.deltas["mix"].get_parameter("up").data[0, 0] = float("nan")
    with pytest.raises(AdapterError, match=r"not written: mix\.up holds numbers that are not finite"):
        save_adapter(adapter, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_numbers_beyond_half_precision_are_not_written_as_infinity(tmp_path: Path) -> None:
    adapter = build.adapter(build.network())
    adapter.deltas["mix"].get_parameter("shift").data[0] = 1e6
    with pytest.raises(AdapterError, match=r"mix\.shift .* not finite in torch.float16"):
        save_adapter(adapter, tmp_path / "a.safetensors", dtype=torch.float16)


@pytest.mark.parametrize(("path", "dtype"), [("missing/a.safetensors", torch.float32), ("a", torch.bfloat16)])
def test_what_cannot_be_written_is_said_in_one_line(path: str, dtype: torch.dtype, tmp_path: Path) -> None:
    with pytest.raises(VisionLoraError, match=path):
        save_adapter(build.adapter(build.network()), tmp_path / path, dtype=dtype)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(AdapterError, match="no such adapter file"):
            load_adapter(path)


def test_every_truncation_is_noticed(file: Path) -> None:
    data = file.read_bytes()
    for length in {0, 1, 7, 8, 9, 100, *range(200, len(data), 997), len(data) - 1}:
        file.write_bytes(data[:length])
        with pytest.raises(BrokenAdapterError):
            load_adapter(file)


def test_a_changed_number_is_noticed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BrokenAdapterError, match="checksum"):
        load_adapter(file)


def test_a_changed_name_is_noticed(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"dent", b"bent"))
    with pytest.raises(BrokenAdapterError, match="checksum"):
        load_adapter(file)


def test_the_checksum_is_optional(file: Path) -> None:
    rewrite(file)
    assert CHECKSUM not in metadata(file)
    assert load_adapter(file).card.names == build.NAMES


def test_newer_format(file: Path) -> None:
    rewrite(file, header=lambda header: header.update(format=2))
    with pytest.raises(NewerAdapterError, match=r"newer vision_lora \(format 2, here up to 1\)"):
        load_adapter(file)


def test_what_a_newer_version_adds_to_the_card_is_passed_over(file: Path) -> None:
    rewrite(file, header=lambda header: header["card"].update(colour="red"))
    assert load_adapter(file).card.names == build.NAMES


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


HEADERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "format: text": lambda header: header.update(format="1"),
    "format: true": lambda header: header.update(format=True),
    "format: 0": lambda header: header.update(format=0),
    "format: none": lambda header: header.pop("format"),
    "layers: none": lambda header: header.update(layers={}),
    "layers: list": lambda header: header.update(layers=["mix"]),
    "layers: number": lambda header: header["layers"].update(mix=8),
    "layers: unknown variant": lambda header: header["layers"].update(mix="loha r2"),
    "layers: other variant": lambda header: header["layers"].update(mix="ssf"),
    "layers: other rank": lambda header: header["layers"].update(mix="lora r3"),
    "layers: huge rank": lambda header: header["layers"].update(mix=f"lora r{10**18}"),
    "layers: one too many": lambda header: header["layers"].update(other="lora r2"),
    "layers: one too few": lambda header: header["layers"].pop("mix"),
    "layers: escape sequence": lambda header: header["layers"].update({"\x1b[2Jmix": "lora r2"}),
    "card: none": lambda header: header.pop("card"),
    "card: list": lambda header: header.update(card=[]),
    "card: incomplete": lambda header: header["card"].pop("fingerprint"),
    "base: number": lambda header: header["card"].update(base=3),
    "base: none": lambda header: header["card"].update(base=None),
    "base: other folder": lambda header: header["card"].update(base="../secret/yolo11n.pt"),
    "base: other folder, Windows": lambda header: header["card"].update(base="C:\\secret\\yolo11n.pt"),
    "names: text": lambda header: header["card"].update(names="abc"),
    "names: empty": lambda header: header["card"].update(names=[]),
    "names: an empty one": lambda header: header["card"].update(names=["a", "b", ""]),
    "names: double": lambda header: header["card"].update(names=["a", "b", "a"]),
    "names: too few": lambda header: header["card"].update(names=["a", "b"]),
    "names: lists": lambda header: header["card"].update(names=[["a"], ["b"], ["c"]]),
    "names: line break": lambda header: header["card"].update(names=["a", "b", "c\nerror: d"]),
    "names: lone surrogate": lambda header: header["card"].update(names=["a", "b", "\ud800"]),
    "alpha: text": lambda header: header["card"].update(alpha="8"),
    "alpha: NaN": lambda header: header["card"].update(alpha=float("nan")),
    "alpha: infinite": lambda header: header["card"].update(alpha=float("inf")),
    "alpha: 0": lambda header: header["card"].update(alpha=0),
    "alpha: true": lambda header: header["card"].update(alpha=True),
    "imgsz: fraction": lambda header: header["card"].update(imgsz=320.5),
    "imgsz: huge": lambda header: header["card"].update(imgsz=2**40),
    "imgsz: negative": lambda header: header["card"].update(imgsz=-32),
    "metrics: list": lambda header: header["card"].update(metrics=[1]),
    "created: number": lambda header: header["card"].update(created=5),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_header(name: str, file: Path) -> None:
    rewrite(file, header=HEADERS[name])
    with pytest.raises(BrokenAdapterError) as raised:
        load_adapter(file)
    one_line(raised.value, file)


def one_line(error: Exception, file: Path) -> None:
    assert str(error).isprintable()
    assert str(error).startswith(f"{file}: ")
    assert len(str(error)) < 600


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "NaN": lambda tensors: tensors["mix.up"].__setitem__((0, 0), float("nan")),
    "infinity": lambda tensors: tensors["mix.gain"].__setitem__(0, float("inf")),
    "one missing": lambda tensors: tensors.pop("mix.down"),
    "one too many": lambda tensors: tensors.update({"mix.extra": torch.ones(2)}),
    "of no layer": lambda tensors: tensors.update({"other": torch.ones(2)}),
    "escape sequence": lambda tensors: tensors.update({"mix.\x1b[2J": torch.ones(2, dtype=torch.int32)}),
    "escape sequence, no layer": lambda tensors: tensors.update({"\x1b[2J": torch.ones(2)}),
    "all missing": lambda tensors: tensors.clear(),
    "other shape": lambda tensors: tensors.update({"mix.up": torch.ones(2, 12)}),
    "other rank": lambda tensors: tensors.update({"mix.up": torch.ones(12, 3)}),
    "vector for a matrix": lambda tensors: tensors.update({"mix.down": torch.ones(16)}),
    "scalar": lambda tensors: tensors.update({"mix.gain": torch.tensor(1.0)}),
    "three axes": lambda tensors: tensors.update({"classify.weight": torch.ones(3, 12, 1)}),
    "more classes": lambda tensors: tensors.update(
        {"classify.weight": torch.ones(4, 12), "classify.bias": torch.ones(4)}
    ),
    "integers": lambda tensors: tensors.update({"mix.gain": torch.ones(12, dtype=torch.int32)}),
    "double precision": lambda tensors: tensors.update({"mix.gain": torch.ones(12, dtype=torch.float64)}),
    "complex": lambda tensors: tensors.update({"mix.gain": torch.ones(12, dtype=torch.complex64)}),
    "eight bits": lambda tensors: tensors.update({"mix.gain": torch.ones(12).to(torch.float8_e4m3fn)}),
    "empty": lambda tensors: tensors.update({"body.2.gain": torch.ones(0), "body.2.shift": torch.ones(0)}),
    "no rows and no columns": lambda tensors: tensors.update(
        {
            "mix.gain": torch.ones(0),
            "mix.down": torch.ones(1, 0),
            "mix.up": torch.ones(0, 1),
            "mix.shift": torch.ones(0),
        }
    ),
    # 4 MB each in the file, and 4 GB if a reader allocated (rows, rank) before it looked at the shape of `up`.
    "sizes that multiply": lambda tensors: tensors.update(
        {"mix.gain": torch.ones(10**6), "mix.down": torch.ones(999, 1000), "mix.shift": torch.ones(10**6)}
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_hostile_tensors(name: str, file: Path) -> None:
    rewrite(file, tensors=TENSORS[name])
    with pytest.raises(BrokenAdapterError) as raised:
        load_adapter(file)
    one_line(raised.value, file)


def entry(shape: list[Any], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


RAW: dict[str, bytes] = {
    "no JSON": b"\x00" * 40,
    "a list": b"[]",
    "a number with a million digits": b'{"__metadata__": {"a": ' + b"9" * 10**6 + b"}}",
    "nested": nested(100_000).encode(),
    "nested metadata": json.dumps({"__metadata__": {KEY: nested(100_000)}}).encode(),
    "metadata: list": b'{"__metadata__": []}',
    "metadata: number": b'{"__metadata__": {"vision_lora": 1}}',
    "metadata: no JSON": json.dumps({"__metadata__": {KEY: "{"}}).encode(),
    "metadata: many digits": json.dumps({"__metadata__": {KEY: "9" * 10**5}}).encode(),
    "metadata: list inside": json.dumps({"__metadata__": {KEY: "[]"}}).encode(),
    "metadata: a name twice": json.dumps({"__metadata__": {KEY: '{"format": 1, "format": 2}'}}).encode(),
    "no adapter": b"{}",
    "a tensor twice": b'{"a": %b, "a": %b}' % ((json.dumps(entry([0], [0, 0])).encode(),) * 2),
    "sizes that overflow": json.dumps({"a": entry([2**62, 2**62], [0, 4])}).encode(),
    "size beyond 64 bits": json.dumps({"a": entry([2**64], [0, 4])}).encode(),
    "negative size": json.dumps({"a": entry([-1], [0, 4])}).encode(),
    "offsets beyond the file": json.dumps({"a": entry([1], [0, 4])}).encode(),
    "offsets backwards": json.dumps({"a": entry([1], [4, 0])}).encode(),
    "zero times huge": json.dumps({"a": entry([0, 2**63 - 1, 2**63 - 1], [0, 0])}).encode(),
    "unknown type": json.dumps({"a": entry([0], [0, 0], "F7")}).encode(),
    "type that torch lacks": json.dumps({"a": entry([0], [0, 0], "F6_E2M3")}).encode(),
    "escape sequence": json.dumps({"a": {"\x1b[2J": 0}}).encode(),
    "UTF-16": "{}".encode("utf-16"),
}


@pytest.mark.parametrize("name", RAW)
def test_hostile_layout(name: str, file: Path) -> None:
    raw(file, RAW[name])
    with pytest.raises(BrokenAdapterError) as raised:
        load_adapter(file)
    one_line(raised.value, file)


def test_many_names_are_no_quadratic_work(file: Path) -> None:
    names = ",".join(f'"{index:06d}": 0' for index in range(150_000))
    raw(file, json.dumps({"__metadata__": {KEY: "{" + names + "}"}}).encode()[: 2**22])
    with pytest.raises(BrokenAdapterError):
        load_adapter(file)


@pytest.mark.parametrize("length", [2**22 + 1, 2**40, 2**64 - 1])
def test_header_length_is_bounded(length: int, file: Path) -> None:
    file.write_bytes(struct.pack("<Q", length) + b"{}" * 100)
    with pytest.raises(BrokenAdapterError, match=f"header of {length:,} bytes"):
        load_adapter(file)


def test_a_huge_file_is_not_read(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(MAX_BYTES + 1)  # sparse: takes no room on the disk
    with pytest.raises(BrokenAdapterError, match="bytes; an adapter has at most"):
        load_adapter(file)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(BrokenAdapterError):
        load_adapter(path)
