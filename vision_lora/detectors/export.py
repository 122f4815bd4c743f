"""Deployment: one plain network with the adapter merged into it, as a checkpoint, as ONNX or as OpenVINO.

All formats hold the same network. It takes `images`, (batch, 3, S, S) float32, RGB, 0 to 1, letterboxed with grey 114,
for any batch size, and gives `output0` in pixels of that square:

- before non-maximum suppression, (batch, 4 + classes, cells): centre x, centre y, width, height, and a score for each
  class from 0 to 1; or
- from a head that needs no suppression, where the checkpoint asks for it, (batch, 300, 6): x1, y1, x2, y2, score and
  class, best first.

ONNX and OpenVINO files carry that, the class names and the origin as JSON under `vision_lora` in their metadata
(OpenVINO: runtime info `model_info`), beside the keys under which Ultralytics looks for names, size and stride. It
takes the ONNX file with `YOLO(file).predict(picture, rect=False)`: S is fixed, so that cell centres are constants.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from vision_lora import __version__
from vision_lora.detectors.base import Detector
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import ConfigError
from vision_lora.options.tools import ExportFormat
from vision_lora.pictures.images import PAD_VALUE
from vision_lora.system.outputs import check_file

# isort: split
# After `yolo`, which sets how Ultralytics behaves.
from ultralytics.nn.modules import C2f
from ultralytics.utils.export.engine import torch2onnx

OPSET = 18  # the newest whose operators ONNX Runtime has on all its devices, as in Ultralytics
PACKAGES: dict[ExportFormat, tuple[str, ...]] = {
    "pt": (),
    "onnx": ("onnx", "onnxslim"),
    "openvino": ("onnx", "onnxslim", "openvino"),
}

_RAW = "(batch, 4 + classes, cells): centre x, centre y, width, height in pixels, then a score per class; before NMS"
_FINAL = "(batch, detections, 6): x1, y1, x2, y2 in pixels, score, class index, best first; no NMS needed"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: the files; OpenVINO has two.
        names: the classes that the network knows, in the order of its output.
        output: the output's layout in words.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    output: str


def check_export(out: str, format: ExportFormat, *, exist_ok: bool) -> Path:
    """The file to write, once it is sure that it can be: to be called before long work.

    Raises:
        ConfigError: a package is missing, the folder is, or the file exists and may not be replaced.
    """
    missing = [package for package in PACKAGES[format] if find_spec(package) is None]
    if missing:
        raise ConfigError(f"--format {format} needs {' and '.join(missing)}: pip install 'vision-lora[export]'")
    path = check_file("out", out)
    assert path is not None
    existing = [file for file in _files(path, format) if file.exists()]
    if existing and not exist_ok:
        raise ConfigError(f"--out {existing[0]}: exists already; give another name, or --exist-ok to replace it")
    return path


def export(detector: Detector, path: Path, format: ExportFormat, imgsz: int) -> Exported:
    """Write the network of the active adapter, merged, or of the base where none is active.

    The detector stays as it is.

    Args:
        detector: with its active adapter.
        path: file to write; replaced where it exists. OpenVINO's weights go beside it, as `.bin`.
        format: kind of file.
        imgsz: side of the square pictures, pixels. A checkpoint takes any.

    Returns:
        What was written.

    Raises:
        ConfigError: the detector's family cannot be exported, or its strides do not divide `imgsz`.
    """
    if not isinstance(detector, YoloDetector):
        raise ConfigError(f"detectors of the family {detector.family} cannot be exported; {YoloDetector.family} can")
    stride = int(detector.head.stride.max())
    if imgsz % stride:
        raise ConfigError(f"--imgsz {imgsz}: expected a multiple of the detector's stride, {stride}")
    with _plain(detector) as names:
        metadata = _metadata(detector, names, imgsz, stride)
        try:
            with TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
                whole = Path(folder) / path.name
                if format == "pt":
                    detector.save_checkpoint(whole)
                else:
                    _write_graph(_traceable(detector), imgsz, whole, format, metadata)
                for file in _files(path, format):
                    (Path(folder) / file.name).replace(file)
        except OSError as error:
            raise ConfigError(f"--out {path}: cannot be written ({error.strerror or error})") from error
    return Exported(_files(path, format), names, metadata["output"])


@contextmanager
def _plain(detector: YoloDetector) -> Iterator[tuple[str, ...]]:
    """The detector for a while with its adapter merged, and in the pass that then is its own; gives its classes."""
    merges = detector.adapter is not None
    if merges:
        detector.merge()
    try:
        with detector.pass_of("general") as names:
            yield names
    finally:
        if merges:
            detector.unmerge()


def _traceable(detector: YoloDetector) -> nn.Module:
    """A copy of the network in the state in which Ultralytics' exporter traces it."""
    network: Any = copy.deepcopy(detector.network).cpu().eval()
    head = network.model[-1]
    head.export, head.format = True, "onnx"  # output alone, without the raw maps
    head.dynamic, head.shape = False, None  # cell centres become constants
    for module in network.modules():
        if isinstance(module, C2f):
            module.forward = module.forward_split  # type: ignore[method-assign]  # `chunk` traces into more operators
    return network  # type: ignore[no-any-return]


@torch.no_grad()
def _write_graph(network: nn.Module, imgsz: int, path: Path, format: ExportFormat, metadata: dict[str, str]) -> None:
    """Trace a network into an ONNX file, and turn that into OpenVINO where it is asked for."""
    import onnx
    import onnxslim

    traced = path.with_suffix(".onnx")
    images = torch.zeros(2, 3, imgsz, imgsz)
    network(images)  # so that cell centres are there before the trace
    torch2onnx(network, images, str(traced), opset=OPSET, dynamic={"images": {0: "batch"}, "output0": {0: "batch"}})
    graph = onnxslim.slim(onnx.load(traced))
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value)
    onnx.save(graph, traced)
    if format == "openvino":
        import openvino

        model = openvino.Core().read_model(traced)
        for key, value in metadata.items():
            model.set_rt_info(value, ["model_info", key])
        # Weights rounded to half precision would move scores; the runtime rounds them itself where that is faster.
        openvino.save_model(model, path, compress_to_fp16=False)


def _metadata(detector: YoloDetector, names: tuple[str, ...], imgsz: int, stride: int) -> dict[str, str]:
    """Metadata of an exported file: our JSON, and the keys that Ultralytics reads (as Python literals).

    Args:
        detector: with its adapter merged.
        names: the classes of the merged network, in the order of its outputs.
        imgsz: side of the square pictures, pixels.
        stride: largest stride, pixels.
    """
    merged = detector.adapters.active
    card = None if merged is None else detector.adapters.adapters[merged].card
    output = _FINAL if detector.head.end2end else _RAW
    ours = {
        "names": names,
        "input": {
            "name": "images",
            "shape": ["batch", 3, imgsz, imgsz],
            "type": "float32",
            "colour": "RGB",
            "range": [0, 1],
            "resize": "letterbox: longer side to the full size, aspect ratio kept, picture centred",
            "fill": PAD_VALUE,
        },
        "output": {"name": "output0", "layout": output},
        "base": {"file": detector.base, "fingerprint": detector.fingerprint},
        "adapter": card and {"created": card.created, "version": card.version, "metrics": dict(card.metrics)},
        "thresholds": dict(card.thresholds) if card else {},  # lowest score that counts, by class
        "version": __version__,
    }
    return {
        "vision_lora": json.dumps(ours),
        "output": output,
        "task": "detect",
        "names": str(dict(enumerate(names))),
        "imgsz": str([imgsz, imgsz]),
        "stride": str(stride),
        "channels": "3",
        "batch": "1",
        "end2end": str(bool(detector.head.end2end)),
        "args": str({"dynamic": False, "nms": False}),
    }


def _files(path: Path, format: ExportFormat) -> tuple[Path, ...]:
    return (path, path.with_suffix(".bin")) if format == "openvino" else (path,)
