"""Checkpoints made up at random, read in a process that watches itself.

`python -m tests.detectors.fuzz_checkpoints 100000 7` reads so many, of that seed.

Three kinds of pickles: values of all sorts in each other, with every instruction that calls, makes or fills something,
over all names that a checkpoint may hold and over others that would do harm; streams of any instructions; and the
pickle of a real network with some of its bytes or names changed. Python reports what a process does to audit hooks.
While a file is read, and the network in it runs, nothing may be reported but that the file itself is opened.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

import vision_lora.detectors  # noqa: F401 - imports Ultralytics as this package wants it
from vision_lora.detectors.checkpoints.layer_list import LAYERS
from vision_lora.detectors.checkpoints.revive import ALLOWED
from vision_lora.detectors.checkpoints.torch_file import MAGIC, VERSION
from vision_lora.detectors.load import load_base
from vision_lora.errors import CheckpointError

# isort: split
from ultralytics.nn.tasks import DetectionModel

FORBIDDEN = ("exec", "compile", "import", "open", "pickle.find_class", "marshal.", "code.", "ctypes.", "socket.")
FORBIDDEN += ("subprocess.", "os.", "shutil.", "pty.", "urllib.", "http.", "ftplib.", "sqlite3.", "tempfile.", "glob.")
_HARMFUL = """
    os.system posix.system subprocess.Popen builtins.eval builtins.exec builtins.open builtins.compile builtins.getattr
    builtins.__import__ importlib.import_module pickle.loads torch.load torch.hub.load torch.jit.load codecs.open
    ultralytics.nn.distill_model.DistillationModel ultralytics.nn.modules.block.TorchVision runpy.run_path
    ultralytics.nn.tasks.load_checkpoint ultralytics.nn.tasks.torch_safe_load ultralytics.nn.tasks.parse_model
    ultralytics.utils.downloads.safe_download copyreg._reconstructor copyreg.__newobj__ functools.partial
    operator.attrgetter torch.nn.modules.module.Module torch._utils._rebuild_wrapper_subclass types.FunctionType
"""
HARMFUL = _HARMFUL.split()
_ATTRIBUTES = """
    forward __class__ __dict__ __setstate__ __init__ __call__ _call_impl _compiled_call_impl _forward_hooks _modules
    _forward_pre_hooks _parameters _buffers _backward_hooks training eval float apply state_dict names yaml save stride
    args criterion model i f type act conv end2end nc
"""
ATTRIBUTES = _ATTRIBUTES.split()
TEXTS = ("", "a", "model", "0", "nn.SiLU()", "__import__('os').system('id')", "/etc/passwd", "http://localhost/y.pt")
TINY: dict[str, Any] = {
    "nc": 2,
    "scales": {"n": [1.0, 1.0, 64]},
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Bottleneck", [8]]],
    "head": [[[1], 1, "Detect", ["nc"]]],
}


class Watch:
    """What Python reports while it is armed."""

    def __init__(self) -> None:
        self.armed = False
        self.file = ""
        self.seen: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        own = event == "open" and str(args[0]) == self.file and args[1] == "r"
        if self.armed and event.startswith(FORBIDDEN) and not own:
            self.seen.append(f"{event} {str(args)[:80]}")


class Maker:
    """Pickles at random.

    Args:
        seed: of the generator.
        network: pickle of a real network, and its storages by name.
    """

    def __init__(self, seed: int, network: tuple[bytes, dict[str, bytes]]) -> None:
        self.random = random.Random(seed)
        self.network, self.storages = network
        # Names of the list by far the most often: others end the reading at once.
        self.names = [*sorted(ALLOWED), *sorted(LAYERS), "builtins.getattr", "torch.FloatStorage"] * 8 + HARMFUL

    def file(self) -> bytes:
        """A file of one of the three kinds, in one of both layouts; some are damaged."""
        data, storages = self.pickle()
        if self.random.random() < 0.1:
            return older(data, storages)
        made = bytearray(archive(data, storages))
        for _ in range(self.random.choice((0,) * 9 + (1, 2, 3))):
            made[self.random.randrange(len(made))] = self.random.randrange(256)
        return bytes(made)

    def pickle(self) -> tuple[bytes, dict[str, bytes]]:
        """A pickle of one of the three kinds, and storages for it."""
        kind = self.random.random()
        if kind < 0.1:
            return self.changed(), self.storages
        few = {f"data/{key}": bytes(16) for key in range(2)}
        if kind < 0.7:
            return b"\x80\x02}" + text("model") + self.value(0) + b"s.", few
        return b"\x80\x02" + b"".join(self.instruction() for _ in range(self.random.randint(1, 40))) + b".", few

    def value(self, depth: int) -> bytes:
        """Instructions that leave one value."""
        one = self.random
        if depth > 4 or one.random() < 0.25:
            return one.choice((self.plain, self.tensor))()
        inner = [self.value(depth + 1) for _ in range(one.randint(0, 3))]
        together = b"(" + b"".join(inner)
        kinds = (
            lambda: b"]" + together + b"e",
            lambda: together + b"t",
            lambda: b"}(" + b"".join(self.key() + part for part in inner) + b"u",
            lambda: self.name() + together + b"tR",
            lambda: self.name() + b")R" + self.state(depth),
            lambda: self.name() + together + b"t\x81",
            lambda: self.name() + b")\x81" + self.state(depth),
            lambda: self.layer(depth),
            lambda: self.layer(depth),
            lambda: self.rare(together),
            lambda: b"cbuiltins\ngetattr\n(" + self.layer(depth) + self.key() + b"tR",
        )
        return one.choice(kinds)()

    def rare(self, together: bytes) -> bytes:
        """Instructions that call or make something, and that torch does not write."""
        name = self.random.choice(self.names)
        module, _, own = name.rpartition(".")
        return self.random.choice(
            (
                b"(" + together[1:] + f"i{module}\n{own}\n".encode(),  # INST
                b"(" + self.name() + together[1:] + b"o",  # OBJ
                self.name() + together + b"t}\x92",  # NEWOBJ_EX
                text(module) + text(own) + b"\x93" + together + b"tR",  # STACK_GLOBAL
                b"\x82\x01" + together + b"tR",  # EXT1
                together + b"tQ",  # BINPERSID
                b"Pfoo\n",  # PERSID
            )
        )

    def layer(self, depth: int) -> bytes:
        """A layer of the list with torch's own tables and some attributes."""
        module, _, own = self.random.choice(sorted(LAYERS)).rpartition(".")
        tables = b"".join(text(name) + b"}" for name in ("_parameters", "_buffers", "_modules"))
        more = b"".join(self.key() + self.value(depth + 2) for _ in range(self.random.randint(0, 3)))
        return f"c{module}\n{own}\n".encode() + b")\x81}(" + tables + more + b"ub"

    def state(self, depth: int) -> bytes:
        kind = self.random.random()
        if kind < 0.2:
            return b""
        table = b"}(" + b"".join(self.key() + self.value(depth + 2) for _ in range(self.random.randint(0, 3))) + b"u"
        return (b"N" + table + b"\x86b") if kind < 0.4 else self.value(depth + 2) + b"b" if kind < 0.5 else table + b"b"

    def key(self) -> bytes:
        return text(self.random.choice(ATTRIBUTES)) if self.random.random() < 0.9 else self.plain()

    def name(self) -> bytes:
        module, _, own = self.random.choice(self.names).rpartition(".")
        return f"c{module}\n{own}\n".encode()

    def plain(self) -> bytes:
        one = self.random
        number = b"J" + struct.pack("<i", one.choice((0, 1, 2, -1, 64, 2**31 - 1)))
        return one.choice(
            (b"N", b"\x88", b"\x89", number, text(one.choice(TEXTS)), b"G" + struct.pack(">d", 0.5), b")")
        )

    def tensor(self) -> bytes:
        """A tensor, often beyond its storage."""
        count, size = self.random.choice((4, 4, 4, 0, 2**31 - 1)), self.random.choice((4, 2, 2**20))
        numbers = [b"J" + struct.pack("<i", number) for number in (count, self.random.choice((0, 0, 3, -1)), size)]
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(self.random.choice("01x")) + text("cpu")
        made = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage[1:] + numbers[0] + b"tQ" + numbers[1] + numbers[2]
        made += b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
        whole = b"ctorch._utils\n_rebuild_parameter\n(" + made + b"\x88ccollections\nOrderedDict\n)RtR"
        return self.random.choice((made, whole))

    def instruction(self) -> bytes:
        """Any instruction at all, with an argument that mostly fits."""
        opcode = self.random.choice(pickletools.opcodes)
        code = opcode.code.encode("latin-1")
        if opcode.arg is None:
            return code
        if opcode.name in ("GLOBAL", "INST"):
            return code + self.name()[1:]
        length = opcode.arg.n
        if length >= 0:
            return code + self.random.randbytes(length)
        if length == pickletools.UP_TO_NEWLINE:
            return code + str(self.random.randint(0, 9)).encode() + b"\n"
        width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(length, 4)
        return code + (2).to_bytes(width, "little") + b"ab"

    def changed(self) -> bytes:
        """The network with a few bytes or one name changed."""
        data = bytearray(self.network)
        if self.random.random() < 0.5:
            names = [place for op, _, place in pickletools.genops(self.network) if op.name == "GLOBAL"]
            start = self.random.choice(names)
            end = data.index(b"\n", data.index(b"\n", start) + 1) + 1
            data[start:end] = self.name()
            return bytes(data)
        for _ in range(self.random.randint(0, 3)):
            data[self.random.randrange(len(data))] = self.random.randrange(256)
        return bytes(data)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def tiny() -> tuple[bytes, dict[str, bytes]]:
    """Pickle and storages of a small network, as Ultralytics saves it."""
    torch.save({"model": DetectionModel(dict(TINY), verbose=False).half()}, buffer := io.BytesIO())
    with zipfile.ZipFile(buffer) as archive:
        files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    return files["data.pkl"], {name: data for name, data in files.items() if name.startswith("data/")}


def archive(data: bytes, storages: dict[str, bytes]) -> bytes:
    """A file as torch.save writes it."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as made:
        made.writestr("archive/data.pkl", data)
        for name, numbers in storages.items():
            made.writestr(f"archive/{name}", numbers)
    return buffer.getvalue()


def older(data: bytes, storages: dict[str, bytes]) -> bytes:
    """A file as torch.save wrote it before torch 1.6, of halves."""
    system = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}
    keys = sorted(name.removeprefix("data/") for name in storages)
    first = b"".join(pickle.dumps(part, 2) for part in (MAGIC, VERSION, system))
    last = b"".join(struct.pack("<q", len(storages[f"data/{key}"]) // 2) + storages[f"data/{key}"] for key in keys)
    return first + data + pickle.dumps(keys, 2) + last


def read(path: Path, counts: dict[str, int]) -> None:
    """Read a file as every verb does, which runs the network in it once."""
    try:
        load_base(str(path))
        counts["loaded"] += 1
    except CheckpointError as error:
        counts["one line"] += "\n" not in str(error)
        counts["cannot be built"] += "cannot be built" in str(error)


def main() -> None:
    """Read as many as are asked for, and print what came of them."""
    warnings.simplefilter("ignore")  # to show one, Python opens the source that it comes from
    cases, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    watch, maker = Watch(), Maker(seed, tiny())
    counts = {"cases": 0, "one line": 0, "cannot be built": 0, "loaded": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.pt"
        watch.file = str(path)
        path.write_bytes(archive(*tiny()))
        read(path, dict(counts))  # what is imported late by torch itself is there from now on
        watch.armed = True
        pickle.loads(b"cbuiltins\ncompile\n(X\x01\x00\x00\x001X\x00\x00\x00\x00X\x04\x00\x00\x00evaltR.")
        watch.armed = False
        heard, watch.seen = watch.seen, []  # the hook does hear what a plain unpickler does
        while counts["cases"] < cases and not watch.seen:
            path.write_bytes(maker.file())
            counts["cases"] += 1
            watch.armed = True
            read(path, counts)
            watch.armed = False
    print(json.dumps({**counts, "heard": heard, "seen": watch.seen}))


if __name__ == "__main__":
    main()
