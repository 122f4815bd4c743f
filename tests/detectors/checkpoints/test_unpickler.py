"""Files of `torch.save` from strangers: what they hold is read, and nothing in them runs."""

from __future__ import annotations

import copyreg
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.detectors.checkpoints.build import pickled, refused, saved, small
from tests.detectors.fuzz_checkpoints import text
from vision_lora.detectors.checkpoints.layer_list import LAYERS
from vision_lora.detectors.checkpoints.starter import read_starter, write_starter
from vision_lora.detectors.load import load_base
from vision_lora.errors import CheckpointError

LAYER = b"ctorch.nn.modules.linear\nIdentity\n"
STATE = b"}(" + b"".join(text(name) + b"}" for name in ("_parameters", "_buffers", "_modules"))
RUNS: dict[str, tuple[bytes, str]] = {
    "a function": (b"cos\nsystem\n" + text("touch ran") + b"\x85R", r"allow-list \(os\.system\)"),
    "the first of two": (b"(cos\nsystem\ncbuiltins\neval\nt", r"allow-list \(os\.system\); expected a checkpoint"),
    "a loader of Ultralytics": (
        b"cultralytics.nn.distill_model\nDistillationModel\n" + text("a.pt") + b"N\x86R",
        r"ultralytics\.nn\.distill_model\.DistillationModel",
    ),
    "a layer's constructor": (
        b"cultralytics.nn.tasks\nDetectionModel\n" + text("evil.yaml") + b"\x85R",
        "a DetectionModel that is not made by calling it",
    ),
    "arguments of a layer's making": (LAYER + text("evil") + b"\x85\x81}b", "a Identity that is not made by calling"),
    "Python's attribute lookup": (b"cbuiltins\ngetattr\n" + LAYER + text("__init__") + b"\x86RN\x85R", "was expected"),
    "a method of another layer": (
        LAYER
        + b")\x81"
        + STATE
        + text("forward")
        + b"cbuiltins\ngetattr\n"
        + LAYER
        + b")\x81}b"
        + text("forward")
        + b"\x86Rub",
        "a forward of Identity's own",
    ),
    "another method of its own": (
        LAYER + b")\x81q\x01" + STATE + text("forward") + b"cbuiltins\ngetattr\nh\x01" + text("apply") + b"\x86Rub",
        "a forward of Identity's own",
    ),
    "a hook": (
        LAYER + b")\x81" + STATE + text("_forward_hooks") + b"}K\x00" + LAYER + b")\x81}bsub",
        "no hooks, as in Identity._forward_hooks",
    ),
    "an attribute in a method's place": (
        LAYER + b")\x81" + STATE + text("eval") + b"K\x01ub",
        "a method, not data, as Identity.eval",
    ),
    "a class": (LAYER + b")\x81" + STATE + text("__class__") + LAYER + b"ub", "an attribute, not Identity.__class__"),
    "slots": (LAYER + b")\x81N}" + text("forward") + b"Ns\x86b", "the state of a Identity"),
    "a state set twice": (LAYER + b")\x81}" + text("a") + b"K\x01sb}b", "sets the state of one .* twice"),
    "a name as a module": (
        LAYER + b")\x81}(" + text("_modules") + b"}" + text("a") + LAYER + b"sub",
        "a torch.nn.modules.linear.Identity stands by itself",
    ),
    "data as a module": (
        LAYER + b")\x81}(" + text("_modules") + b"}" + text("a") + b"K\x01sub",
        "parts in Identity._mod",
    ),
    "copyreg": (b"ccopy_reg\n_reconstructor\n(" + LAYER + b"cbuiltins\nobject\nNtR", r"copyreg\._reconstructor"),
    "a stranger's storage": (b"(" + text("module") + LAYER + text("a") + text("b") + b"tQ", "no storage of torch"),
    "INST": (b"(" + text("touch ran") + b"ios\nsystem\n", "has the instruction b'i'"),
    "OBJ": (b"(" + LAYER + b"o", "has the instruction b'o'"),
    "NEWOBJ_EX": (LAYER + b")}\x92", "has the instruction"),
    "STACK_GLOBAL": (text("os") + text("system") + b"\x93" + text("touch ran") + b"\x85R", "has the instruction"),
    "EXT1": (b"\x82\x01)R", "has the instruction"),
    "a name across lines": (b"cos\nsystem\x1b[2J\n)R", r"os\.system\?\[2J"),
}


@pytest.mark.parametrize("case", RUNS)
def test_nothing_is_called(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    instructions, message = RUNS[case]
    refused(pickled(tmp_path, instructions), message)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_registered_extensions_are_not_called_either(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 240)
    try:
        refused(pickled(tmp_path, b"\x82\xf0" + text("exit 1") + b"\x85R"), "has the instruction")
    finally:
        copyreg.remove_extension("os", "system", 240)


def test_layers_fill_in_what_older_versions_lacked_and_do_nothing_else() -> None:
    """The methods that run while a layer comes to life are torch's own, and one that multiplies two numbers."""
    kinds = {f"{kind.__setstate__.__module__}.{kind.__setstate__.__qualname__}" for kind in LAYERS.values()}
    assert {kind for kind in kinds if not kind.startswith("torch.nn.modules.")} <= {
        "ultralytics.nn.modules.block.AAttn.__setstate__"
    }
    assert all(issubclass(kind, nn.Module) and "__new__" not in vars(kind) for kind in LAYERS.values())


def test_no_file_changes_what_torch_itself_lets_pass(tmp_path: Path) -> None:
    """Ultralytics' own reader adds classes to torch's list, for every other reader of the process."""
    before = torch.serialization.get_safe_globals()
    load_base(str(saved(tmp_path, model=small())))
    assert torch.serialization.get_safe_globals() == before


def test_a_network_s_own_architecture_is_never_built(tmp_path: Path) -> None:
    network = small()
    network.yaml["activation"] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    detector = load_base(str(saved(tmp_path, model=network)))
    assert detector.names == ("0", "1")
    write_starter(small(yaml=network.yaml), 64, tmp_path / "starter.safetensors")
    with pytest.raises(CheckpointError, match=r"activation .* expected one of torch\.nn"):
        read_starter(tmp_path / "starter.safetensors")
    assert not (tmp_path / "ran").exists()


def test_made_up_checkpoints_do_nothing_but_be_read() -> None:
    """VISION_LORA_FUZZ says how many; 100,000 have been read."""
    cases = int(os.environ.get("VISION_LORA_FUZZ", "1500"))
    command = [sys.executable, "-W", "ignore", "-m", "tests.detectors.fuzz_checkpoints", str(cases)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert any(re.match("compile", event) for event in told["heard"])  # the hook hears what a plain unpickler does
    assert told["seen"] == []
    assert told["cases"] == cases == told["loaded"] + told["one line"]
    assert told["loaded"] > cases / 500
    assert told["cannot be built"] > 0
