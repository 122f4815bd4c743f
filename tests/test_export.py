"""An exported network finds what the adapted detector finds, and needs nothing of ours."""

from __future__ import annotations

import ast
import json
import pickletools
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vision_lora.adapters.file import save_adapter
from vision_lora.adapters.weights.deltas import LowRank, ScaleShift
from vision_lora.detectors import export as room
from vision_lora.detectors.export import check_export, export
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.readout import Found, Readout
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import ConfigError
from vision_lora.export import main
from vision_lora.pictures.images import letterbox, read_image

# isort: split
import ultralytics
from torchvision.ops import box_iou
from ultralytics.utils.nms import non_max_suppression

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SIDE = 320
# Classes of COCO under other names: an adapter that finds something in real pictures without being trained.
CLASSES = {"who": 0, "wheels": 2, "bowl of": 45, "seat": 56, "dog's": 16, "陶器": 41}


def adapted(path: Path) -> YoloDetector:
    """A detector with an adapter: its class rows are those of some old classes, its other numbers small, not zero."""
    detector = YoloDetector.load(str(path))
    generator = torch.manual_seed(0)
    adapter = new_adapter(detector, tuple(CLASSES), alpha=8, imgsz=SIDE)
    for delta in adapter.deltas.values():
        assert isinstance(delta, ScaleShift) or delta in adapter.class_rows.values()
        for name, parameter in delta.named_parameters():
            if name in ("gain", "shift") or (name == "up" and isinstance(delta, LowRank)):
                parameter.data.normal_(std=0.01, generator=generator)
    for layer, rows in adapter.class_rows.items():
        old = detector.network.get_submodule(layer)
        index = list(CLASSES.values())
        rows.weight.data.copy_(old.weight[index].flatten(1))  # type: ignore[index, union-attr]
        rows.bias.data.copy_(old.bias[index])  # type: ignore[index]
    detector.attach(adapter)
    return detector


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "weights"


@pytest.fixture(scope="module")
def detector(weights: Path) -> YoloDetector:
    return adapted(weights / "yolo11n.pt")


@pytest.fixture(scope="module")
def pictures(shared: Path) -> NDArray[np.uint8]:
    """A hundred real pictures, letterboxed, (100, SIDE, SIDE, 3)."""
    files = sorted((shared / "datasets" / "coco128" / "images").rglob("*.jpg"))[:100]
    assert len(files) == 100
    return np.stack([letterbox(read_image(file), SIDE)[0] for file in files])


def as_input(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the metadata of an export asks for."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32) / 255


def onnx_runtime(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["output0"], {"images": images})[0]


def openvino_runtime(file: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    openvino = pytest.importorskip("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(file, "CPU", settings)
    return lambda images: model(images)[0]


def expect_same(
    detector: YoloDetector,
    runtime: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    pictures: NDArray[np.uint8],
    *,
    classes: int = len(CLASSES),
) -> int:
    """No detection above 0.25 is lost, boxes overlap to 0.999, scores agree to 0.001; gives the number compared."""
    compared = 0
    for start in range(0, len(pictures), 4):
        batch = pictures[start : start + 4]
        with torch.no_grad(), detector.pass_of("defects" if detector.adapter else "general"):
            expected = detector.read(torch.from_numpy(as_input(batch)), Readout())
        outputs = torch.from_numpy(runtime(as_input(batch)).copy())
        rows = non_max_suppression(outputs, 0.249, 0.7, max_det=300, nc=classes, end2end=outputs.shape[-1] == 6)
        for one, other in zip(expected, rows, strict=True):
            compared += len(one.scores)
            expect_each(one, other)
    return compared


def expect_each(expected: Found, rows: torch.Tensor) -> None:
    if not len(expected.boxes):
        return
    assert len(rows), "all detections of a picture are lost"
    alike = (expected.classes[:, None] == rows[:, 5]) & ((expected.scores[:, None] - rows[:, 4]).abs() <= 1e-3)
    overlap = torch.where(alike, box_iou(expected.boxes, rows[:, :4]), 0.0)
    assert overlap.max(1).values.min() >= 0.999


def nodes(file: Path) -> int:
    return len(onnx.load(file).graph.node)


@pytest.fixture(scope="module")
def exported(detector: YoloDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "merged.onnx"
    export(detector, file, "onnx", SIDE)
    return file


@pytest.mark.slow
def test_onnx_runtime_finds_what_pytorch_finds(
    detector: YoloDetector, exported: Path, pictures: NDArray[np.uint8]
) -> None:
    assert expect_same(detector, onnx_runtime(exported), pictures) > 100


@pytest.mark.slow
@pytest.mark.parametrize("base", ["yolov8n.pt", "yolo26n.pt"])
def test_other_families_too(base: str, weights: Path, pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    other = adapted(weights / base)
    export(other, tmp_path / "m.onnx", "onnx", SIDE)
    assert expect_same(other, onnx_runtime(tmp_path / "m.onnx"), pictures[:20]) > 15


@pytest.mark.slow
def test_heads_without_suppression(weights: Path, pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    other = adapted(weights / "yolo26n.pt")
    other.head.end2end = True
    done = export(other, tmp_path / "m.onnx", "onnx", SIDE)
    assert "no NMS needed" in done.output
    runtime = onnx_runtime(tmp_path / "m.onnx")
    assert runtime(as_input(pictures[:2])).shape == (2, 300, 6)
    assert expect_same(other, runtime, pictures[:20]) > 15


@pytest.mark.slow
def test_openvino_finds_what_pytorch_finds(detector: YoloDetector, pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    done = export(detector, tmp_path / "m.xml", "openvino", SIDE)
    assert (
        [file.name for file in done.files]
        == ["m.xml", "m.bin"]
        == sorted((file.name for file in tmp_path.iterdir()), reverse=True)
    )
    assert expect_same(detector, openvino_runtime(tmp_path / "m.xml"), pictures[:20]) > 20
    info = openvino.Core().read_model(tmp_path / "m.xml").get_rt_info(["model_info", "vision_lora"])
    assert json.loads(info.value)["names"] == list(CLASSES)


def test_the_base_itself(weights: Path, pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    base = YoloDetector.load(str(weights / "yolo11n.pt"))
    done = export(base, tmp_path / "b.onnx", "onnx", SIDE)
    assert done.names == base.names
    assert expect_same(base, onnx_runtime(tmp_path / "b.onnx"), pictures[:8], classes=80) > 8


def test_merged_has_no_more_operators_than_the_base(weights: Path, exported: Path, tmp_path: Path) -> None:
    export(YoloDetector.load(str(weights / "yolo11n.pt")), tmp_path / "b.onnx", "onnx", SIDE)
    assert nodes(exported) == nodes(tmp_path / "b.onnx")
    shutil.copy(weights / "yolo11n.pt", tmp_path / "theirs.pt")
    theirs = ultralytics.YOLO(tmp_path / "theirs.pt").export(format="onnx", imgsz=SIDE, simplify=True)
    assert nodes(exported) <= nodes(theirs)


def test_any_batch_size(exported: Path, pictures: NDArray[np.uint8]) -> None:
    runtime = onnx_runtime(exported)
    images = as_input(pictures[:3])
    together = runtime(images)
    assert together.shape == (3, 4 + len(CLASSES), 2100)
    for one, image in zip(together, images, strict=True):
        np.testing.assert_allclose(runtime(image[None])[0], one, atol=1e-2, rtol=1e-4)


def test_metadata_says_how_to_feed_and_read_it(exported: Path, detector: YoloDetector) -> None:
    properties = {item.key: item.value for item in onnx.load(exported).metadata_props}
    ours = json.loads(properties["vision_lora"])
    assert ours["names"] == list(CLASSES)
    assert ours["input"]["shape"] == ["batch", 3, SIDE, SIDE]
    assert (ours["input"]["colour"], ours["input"]["range"], ours["input"]["fill"]) == ("RGB", [0, 1], 114)
    assert ours["input"]["resize"].startswith("letterbox")
    assert ours["output"]["layout"].startswith("(batch, 4 + classes, cells)")
    assert ours["base"] == {"file": "yolo11n.pt", "fingerprint": detector.fingerprint}
    assert ast.literal_eval(properties["names"]) == dict(enumerate(CLASSES))
    assert properties["stride"] == "32"


def test_ultralytics_runs_the_onnx_file(exported: Path, detector: YoloDetector, shared: Path) -> None:
    picture = sorted((shared / "datasets" / "coco128" / "images").rglob("*.jpg"))[0]
    theirs: Any = ultralytics.YOLO(exported, task="detect")
    theirs = theirs.predict(picture, imgsz=SIDE, conf=0.25, rect=False, verbose=False)[0]
    assert theirs.names == dict(enumerate(CLASSES))
    ours = detector.predict([read_image(picture)], SIDE, mode="defects")[0]
    assert abs(len(theirs.boxes) - len(ours)) <= 1  # they shrink pictures with another filter


@pytest.fixture(scope="module")
def checkpoint(detector: YoloDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "merged.pt"
    export(detector, file, "pt", SIDE)
    return file


def raw(detector: YoloDetector, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), detector.pass_of("defects" if detector.adapter else "general"):
        output: torch.Tensor = detector.network.eval()(images)[0]
    return output


def test_checkpoint_opens_in_ultralytics_and_computes_the_same(
    checkpoint: Path, detector: YoloDetector, pictures: NDArray[np.uint8]
) -> None:
    theirs: Any = ultralytics.YOLO(checkpoint)
    assert theirs.names == dict(enumerate(CLASSES))
    assert theirs.model.model[-1].nc == theirs.model.yaml["nc"] == len(CLASSES)
    images = torch.from_numpy(as_input(pictures[:2]))
    with torch.no_grad():
        output = theirs.model.eval()(images)[0]
    assert (output - raw(detector, images)).abs().max() <= 1e-5

    ours = YoloDetector.load(str(checkpoint))
    assert ours.names == tuple(CLASSES)
    assert torch.equal(raw(ours, images), output)


def test_checkpoint_names_no_code_of_ours(checkpoint: Path) -> None:
    with zipfile.ZipFile(checkpoint) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    texts = {argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)}
    assert "ultralytics.nn.tasks DetectionModel" in texts
    assert not [text for text in texts if "vision_lora" in text]


@pytest.mark.slow
def test_checkpoint_validates_to_the_same_map(checkpoint: Path, weights: Path, shared: Path, tmp_path: Path) -> None:
    """Measured by Ultralytics, on the file and on the network with the adapter attached."""
    data = small_dataset(shared, tmp_path)
    options = {
        "data": data,
        "imgsz": SIDE,
        "batch": 8,
        "workers": 0,
        "plots": False,
        "project": tmp_path,
        "device": "cpu",
    }
    theirs: Any = ultralytics.YOLO(checkpoint)
    found = theirs.val(**options).box
    live: Any = ultralytics.YOLO(checkpoint)
    detector = adapted(weights / "yolo11n.pt")
    with detector.pass_of("defects"):
        live.model = detector.network
        live.model.names = dict(enumerate(CLASSES))
        expected = live.val(**options).box
    assert expected.map > 0.1
    assert found.map == pytest.approx(expected.map, abs=1e-4)
    assert found.map50 == pytest.approx(expected.map50, abs=1e-4)


def small_dataset(shared: Path, folder: Path) -> Path:
    """24 pictures of COCO128, with the classes of our adapter."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    index = {str(old): new for new, old in enumerate(CLASSES.values())}
    source = shared / "datasets" / "coco128"
    for picture in sorted((source / "images").rglob("*.jpg"))[:24]:
        label = Path(str(picture.with_suffix(".txt")).replace("/images/", "/labels/"))
        lines = [line.split() for line in label.read_text().splitlines()] if label.exists() else []
        kept = [f"{index[first]} {' '.join(rest)}" for first, *rest in lines if first in index]
        shutil.copy(picture, folder / "images" / picture.name)
        (folder / "labels" / label.name).write_text("\n".join(kept))
    file = folder / "data.yaml"
    file.write_text(json.dumps({"path": str(folder), "train": "images", "val": "images", "names": list(CLASSES)}))
    return file


def test_the_detector_stays_as_it_is(detector: YoloDetector, pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    images = torch.from_numpy(pictures[:2].transpose(0, 3, 1, 2).copy())
    before = detector.detect(images)
    export(detector, tmp_path / "m.pt", "pt", SIDE)
    assert detector.adapter is not None
    assert not detector.adapters.merged
    for one, other in zip(before, detector.detect(images), strict=True):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)
        assert one.names == other.names


def test_a_failed_export_leaves_nothing(
    detector: YoloDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "m.onnx").write_text("old")
    monkeypatch.setattr(room, "torch2onnx", full)
    with pytest.raises(ConfigError, match=r"m\.onnx: cannot be written \(No space left on device\)"):
        export(detector, tmp_path / "m.onnx", "onnx", SIDE)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "old"
    assert not detector.adapters.merged


def test_strides_have_to_divide_the_size(detector: YoloDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of the detector's stride, 32"):
        export(detector, tmp_path / "m.onnx", "onnx", 100)


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == "onnxslim" else object())
    with pytest.raises(ConfigError, match=r"needs onnxslim: pip install 'vision-lora\[export\]'"):
        check_export(str(tmp_path / "m.onnx"), "onnx", exist_ok=False)
    assert check_export(str(tmp_path / "m.pt"), "pt", exist_ok=False) == tmp_path / "m.pt"


def test_verb(detector: YoloDetector, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detector.adapter is not None
    save_adapter(detector.adapter, tmp_path / "a.safetensors")
    out = tmp_path / "line 3.onnx"
    words = ["--model", str(weights / "yolo11n.pt"), "--adapter", str(tmp_path / "a.safetensors"), "--out", str(out)]
    assert main([*words, "--imgsz", "64"]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {out}" in printed
    assert "6 classes: who, wheels, bowl of" in printed
    assert "in:  (batch, 3, 64, 64) RGB" in printed

    written = out.read_bytes()
    assert main(words) == 2
    assert "exists already; give another name, or --exist-ok" in capsys.readouterr().err
    assert out.read_bytes() == written
    assert main([*words, "--imgsz", "32", "--exist-ok"]) == 0
    assert out.read_bytes() != written


def test_openvino_weights_are_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "m.bin").touch()
    with pytest.raises(ConfigError, match=r"m\.bin: exists already"):
        check_export(str(tmp_path / "m.xml"), "openvino", exist_ok=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "yolo11n.pt"], "--out (nothing): expected a file that ends in .onnx"),
        (["--model", "yolo11n.pt", "--out", "a.pt"], "--out a.pt: expected a file that ends in .onnx"),
        (["--model", "yolo11n.pt", "--out", "none/a.onnx"], "expected a file in a folder that exists"),
        (["--out", "a.onnx"], "--model (nothing): expected a checkpoint"),
        (["--model", "none.pt", "--out", "a.onnx"], "none.pt: no such checkpoint"),
        (["--adapter", "none.safetensors", "--out", "a.onnx"], "no such adapter file"),
        (["--model", "yolo11n.pt", "--format", "tflite", "--out", "a.onnx"], "tflite"),
        (["--model", "yolo11n.pt", "--imgsz", "100", "--out", "a.onnx"], "--imgsz 100"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
