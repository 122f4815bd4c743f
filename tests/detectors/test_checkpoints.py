"""Files of `torch.save` from strangers: what they hold is read, and nothing in them runs."""

from __future__ import annotations

import copyreg
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.detectors.build import RTDETR
from tests.detectors.fuzz_checkpoints import TINY, archive, text, tiny
from vision_lora.detectors.checkpoints import weights
from vision_lora.detectors.checkpoints.layer_list import LAYERS
from vision_lora.detectors.checkpoints.starter import read_starter, write_starter
from vision_lora.detectors.load import load_base
from vision_lora.errors import CheckpointError

# isort: split
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import v8DetectionLoss


def small(**attributes: Any) -> Any:
    """A network of few layers, with attributes that it was not made with."""
    network = DetectionModel(dict(TINY), verbose=False).eval()
    for name, value in attributes.items():
        network.__dict__[name] = value
    return network


def saved(tmp_path: Path, **content: Any) -> Path:
    torch.save(content, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def pickled(tmp_path: Path, model: bytes) -> Path:
    """A file whose `model` is what these instructions leave."""
    (tmp_path / "a.pt").write_bytes(archive(b"\x80\x02}" + text("model") + model + b"s.", {"data/0": bytes(16)}))
    return tmp_path / "a.pt"


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_base(str(path))
    assert "\n" not in str(caught.value)


GENERATIONS = (
    "yolov5n.yaml",
    "yolov6n.yaml",
    "yolov8n.yaml",
    "yolov8n-ghost.yaml",
    "yolov9t.yaml",
    "yolov10n.yaml",
    "yolo11n.yaml",
    "yolo12n.yaml",
    "yolo26n.yaml",
    "rtdetr",
)


# What real checkpoints are ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_generation_comes_back_to_the_bit(name: str, tmp_path: Path) -> None:
    """Half as wide as its smallest; the deep ones as shallow as they can be."""
    if name == "rtdetr":
        network: Any = RTDETRDetectionModel(dict(RTDETR), verbose=False)
    else:
        layers = yaml_model_load(name)
        if "scales" in layers and "12" not in name:  # whose area attention needs its width
            layers["scales"] = {key: [0.33, 0.125, 256] for key in layers["scales"]}
        network = DetectionModel({**layers, "nc": 3}, verbose=False)
    path = saved(tmp_path, model=network.half(), date="today", version="8")
    again = weights.network_in(weights.read_checkpoint(path), path)
    expected = network.float().eval()
    assert [type(layer) for layer in again.modules()] == [type(layer) for layer in expected.modules()]
    state = again.state_dict()
    assert list(state) == list(expected.state_dict())
    assert all(torch.equal(state[key], value) for key, value in expected.state_dict().items())
    side = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(again(side)[0], expected(side)[0])


def test_what_a_training_leaves_beside_the_network_is_passed_over(tmp_path: Path) -> None:
    """Options, paths, NumPy's numbers, losses, an optimizer's state, as Ultralytics' trainer writes them."""
    network = small(args=IterableSimpleNamespace(box=7.5, cls=0.5, dfl=1.5, save_dir=PosixPath("runs")))
    network.criterion = v8DetectionLoss(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in network.parameters()).backward()
    optimizer.step()
    path = saved(
        tmp_path,
        model=None,
        ema=network,
        optimizer=optimizer.state_dict(),
        best_fitness=np.float64(0.5),
        train_args={"project": PosixPath("runs"), "device": torch.device("cpu"), "imgsz": (640, 640)},
        train_results={"map": np.zeros(3)},
    )
    detector = load_base(str(path))
    assert detector.names == ("0", "1")
    assert detector.fingerprint == load_base(str(saved(tmp_path, model=network))).fingerprint


def test_names_of_earlier_versions_are_known(tmp_path: Path) -> None:
    data, storages = tiny()
    for module in (b"conv", b"block", b"head"):  # one module then
        data = data.replace(b"cultralytics.nn.modules." + module + b"\n", b"cultralytics.nn.modules\n")
    data = data.replace(b"\nDetectionModel\n", b"\nYOLOv10DetectionModel\n")
    assert b"ultralytics.nn.modules\nDetect\n" in data
    (tmp_path / "a.pt").write_bytes(archive(data, storages))
    assert len(load_base(str(tmp_path / "a.pt")).names) == 2


def test_folded_networks_compute_as_they_did(tmp_path: Path) -> None:
    detector = load_base(str(saved(tmp_path, model=small())))
    detector.save_checkpoint(tmp_path / "folded.pt")  # `forward` of its layers is `forward_fuse`
    again = load_base(str(tmp_path / "folded.pt"))
    assert again.fingerprint == detector.fingerprint
    side = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.network(side)[0], detector.network(side)[0])


def test_shared_layers_and_tensors_stay_shared(tmp_path: Path) -> None:
    network = small()
    act, weight = network.model[0].act, network.model[0].conv.weight
    network.model[1].cv1.act = act
    network.model[1].tied = weight
    again: Any = weights.read_checkpoint(saved(tmp_path, model=network))["model"]
    assert again.model[1].cv1.act is again.model[0].act
    assert again.model[1].tied is again.model[0].conv.weight


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_both_layouts(zipped: bool, tmp_path: Path) -> None:
    """torchvision's older official weights are of the older one."""
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    state |= {"half": torch.rand(2, 3).half().t(), "flags": torch.tensor([True, False]), "none": torch.zeros(0, 4)}
    state["part"] = state["0.weight"][1:, 2]
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    again = weights.read_checkpoint(tmp_path / "a.pth")
    assert list(again) == list(state)
    for name, tensor in state.items():
        assert torch.equal(again[name], tensor), name
        assert again[name].dtype == tensor.dtype
        assert again[name].stride() == tensor.stride()


# What would run code ----------------------------------------------------------------------------------------------


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


# What would take memory, or is broken -----------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: small(names=["a"]), "cannot be built .IndexError"),
        (lambda: small(names=None), "cannot be built .TypeError"),
        (lambda: small(save="ab"), "cannot be built"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), "a Sequential, not a supported detector"),
        (
            lambda: tasks.SegmentationModel("yolo11n-seg.yaml", verbose=False),
            "not a supported detector; expected starter",
        ),
    ],
)
def test_networks_that_are_no_detectors_are_one_line(network: Callable[[], Any], message: str, tmp_path: Path) -> None:
    refused(saved(tmp_path, model=network()), message)


def test_made_up_checkpoints_do_nothing_but_be_read() -> None:
    """VISION_LORA_FUZZ says how many; 100,000 have been read."""
    cases = int(os.environ.get("VISION_LORA_FUZZ", "1500"))
    command = [sys.executable, "-W", "ignore", "-m", "tests.detectors.fuzz_checkpoints", str(cases)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert any(re.match("compile", event) for event in told["heard"])  # the hook hears what a plain unpickler does
    assert told["seen"] == []
    assert told["cases"] == cases == told["loaded"] + told["one line"]
    assert told["loaded"] > cases / 500
    assert told["cannot be built"] > 0
