"""Whatever is written for others calls each class by its own name, whatever kind of adapter it came from."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.detectors.build import hugging
from tests.detectors.fuzz_checkpoints import TINY
from vision_lora.adapters.file import save_adapter
from vision_lora.detectors.export import export
from vision_lora.detectors.full import replace_classes
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import grow_adapter, new_adapter
from vision_lora.detectors.readout import Readout
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import CheckpointError
from vision_lora.export import main
from vision_lora.options.tools import ExportFormat
from vision_lora.pictures.detections import Mode

# isort: split
import ultralytics
from ultralytics.nn.tasks import DetectionModel

SIDE = 64
OLD = ("person", "car")
NEW = ('dog\'s "bowl"', "{0} & <b>", "陶器")
MORE = ("no", "010, 2")
ENDINGS: dict[ExportFormat, str] = {"pt": "m.pt", "onnx": "m.onnx", "openvino": "m.xml"}


def detector(*, end2end: bool = False) -> YoloDetector:
    """A detector of two classes, of few layers; its head needs suppression, or none."""
    torch.manual_seed(0)
    network: Any = DetectionModel({**TINY, "end2end": end2end}, verbose=False)
    network.names = dict(enumerate(OLD))
    made = YoloDetector.of(network, "tiny.pt")
    made.side = SIDE
    return made


def attached(made: YoloDetector, *names: str, joint: bool = False) -> YoloDetector:
    """With an adapter that changes every layer, and prefers some of its classes."""
    made.attach(randomised(new_adapter(made, names, joint=joint, imgsz=SIDE)))
    return made


def randomised(adapter: Any) -> Any:
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for rows in adapter.class_rows.values():
            rows.bias.add_(torch.linspace(4, 5, len(rows.bias)))
    return adapter


def second(*, joint: bool) -> YoloDetector:
    """As `train --on` makes it: of an adapter that learned other classes before."""
    made = attached(detector(), *NEW, joint=joint)
    made.attach(randomised(grow_adapter(made, made.adapters.detach(), MORE, imgsz=SIDE)))
    return made


def full(*, keep: bool) -> YoloDetector:
    made = detector()
    replace_classes(made, NEW, keep=keep)
    for layer in made.class_layers():
        bias = cast(torch.Tensor, made.network.get_submodule(layer).bias)
        bias.copy_(torch.linspace(-1, 1, len(bias)))
    return made


def merged() -> YoloDetector:
    made = attached(detector(), *NEW, joint=True)
    made.merge()
    return made


KINDS: dict[str, tuple[Callable[[], YoloDetector], tuple[str, ...]]] = {
    "base": (detector, OLD),
    "exact": (lambda: attached(detector(), *NEW), NEW),
    "joint": (lambda: attached(detector(), *NEW, joint=True), OLD + NEW),
    "second exact": (lambda: second(joint=False), MORE),
    "second joint": (lambda: second(joint=True), OLD + NEW + MORE),
    "joint with a name twice": (lambda: attached(detector(), "car", "dent", joint=True), (*OLD, "car", "dent")),
    "joint without suppression": (lambda: attached(detector(end2end=True), *NEW, joint=True), OLD + NEW),
    "merged before": (merged, OLD + NEW),
    "full": (lambda: full(keep=False), NEW),
    "full, joint": (lambda: full(keep=True), OLD + NEW),
}


def names_and_outputs(file: Path, format: ExportFormat, images: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The names that a file says, wherever it says them, and what it computes."""
    if format == "pt":
        opened: Any = ultralytics.YOLO(file)
        assert opened.model.yaml["nc"] == opened.model.nc == opened.model.model[-1].nc == len(opened.names)
        assert load_base(str(file)).names == tuple(opened.names.values())
        with torch.no_grad():
            return tuple(opened.names.values()), opened.model.eval()(torch.from_numpy(images))[0].numpy()
    if format == "onnx":
        onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
        said = {item.key: item.value for item in onnx.load(file).metadata_props}
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        outputs = session.run(["output0"], {"images": images})[0]
    else:
        openvino = pytest.importorskip("openvino")
        model = openvino.Core().read_model(file)
        said = {key: model.get_rt_info(["model_info", key]).value for key in ("names", "vision_lora")}
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        outputs = compiled(images)[0]
    literal = ast.literal_eval(said["names"])
    assert list(literal) == list(range(len(literal)))
    assert json.loads(said["vision_lora"])["names"] == list(literal.values())
    return tuple(literal.values()), outputs


@pytest.mark.parametrize("format", ENDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_exports_call_classes_as_the_detector_does(kind: str, format: ExportFormat, tmp_path: Path) -> None:
    make, expected = KINDS[kind]
    made = make()
    done = export(made, tmp_path / ENDINGS[format], format, SIDE)
    images = torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    names, outputs = names_and_outputs(done.files[0], format, images.numpy().astype(np.float32) / 255)
    assert names == done.names == expected
    joint = made.adapter is not None and made.adapter.joint
    mode: Mode = "both" if joint else "defects" if made.adapter else "general"
    (found,) = made.detect(images, mode=mode, readout=Readout(confidence=0.0))
    if made.head.end2end:
        score, best = outputs[0, 0, 4:]
    else:
        assert outputs.shape[1] == 4 + len(names)
        scores = outputs[0, 4:].max(1)  # of each class, over all places
        score, best = scores.max(), scores.argmax()
    assert found.scores[0] == pytest.approx(score, abs=1e-3)
    assert found.name(0) == names[int(best)]


def test_exports_of_a_merged_network_say_what_was_merged(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(merged(), tmp_path / "m.onnx", "onnx", SIDE)
    said = {item.key: item.value for item in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(said["vision_lora"])["adapter"] == {"created": "", "version": "", "metrics": {}}


def test_the_verb_prints_the_merged_network_s_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = detector()
    made.save_checkpoint(tmp_path / "tiny.pt")
    base = cast(YoloDetector, load_base(str(tmp_path / "tiny.pt")))
    base.side = SIDE
    adapter = attached(base, *NEW, joint=True).adapter
    assert adapter is not None
    save_adapter(adapter, tmp_path / "a.safetensors")
    words = ["--adapter", str(tmp_path / "a.safetensors"), "--format", "pt", "--out", str(tmp_path / "m.pt")]
    assert main([*words, "--model", str(tmp_path / "tiny.pt")]) == 0
    assert f"5 classes: {', '.join(OLD + NEW)}" in capsys.readouterr().out


@pytest.mark.parametrize("joint", [True, False])
def test_modes_say_the_same_names_as_the_merged_network(joint: bool) -> None:
    """What `predict`, `evaluate` and `camera` take their names from."""
    made = attached(detector(), *NEW, joint=joint)
    images = torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    (defects,) = made.detect(images, mode="defects", readout=Readout(confidence=0.0))
    made.merge()
    (plain,) = made.detect(images, readout=Readout(confidence=0.0))
    learned = [(plain.name(i), plain.scores[i]) for i in range(len(plain)) if plain.name(i) in NEW]
    best = {name: max(score for one, score in learned if one == name) for name, _ in learned}
    for index in range(20):
        assert defects.source(index) == "defects"
        assert defects.scores[index] <= best[defects.name(index)] + 1e-5
    assert defects.name(0) == max(best, key=lambda name: best[name])


@pytest.mark.parametrize("joint", [True, False])
def test_what_an_adapter_learned_is_looked_for_by_default(joint: bool) -> None:
    made = attached(detector(), *NEW, joint=joint)
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for adapter, expected in (("default", "defects"), (None, "general")):
        made.use(adapter)
        (found,) = made.predict([picture], SIDE, readout=Readout(confidence=0.0))
        assert {found.source(index) for index in range(len(found))} == {expected}


@pytest.mark.parametrize("joint", [True, False])
def test_folders_of_transformers_name_the_merged_classes(joint: bool, tmp_path: Path) -> None:
    made = hugging("yolos", fold=False)
    made.side = SIDE
    old = made.names
    made.attach(new_adapter(made, NEW, joint=joint, imgsz=SIDE))
    made.merge()
    made.save_checkpoint(tmp_path / "folder")
    expected = (*old, *NEW) if joint else NEW
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert tuple(config["id2label"].values()) == expected
    assert {name: int(index) for index, name in config["id2label"].items()} == config["label2id"]
    assert load_base(str(tmp_path / "folder")).names == expected


@pytest.mark.parametrize("labels", [{"0": "a", "1": "b", "4": "c"}, {"0": "a", "1": None, "2": "c"}])
def test_a_class_without_a_name_is_refused(labels: dict[str, str | None], tmp_path: Path) -> None:
    hugging("yolos", fold=False).save_checkpoint(tmp_path / "folder")
    file = tmp_path / "folder" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "id2label": labels, "label2id": {}}))
    with pytest.raises(CheckpointError, match=r"id2label has no name for class [12]"):
        load_base(str(tmp_path / "folder"))
