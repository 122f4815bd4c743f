"""From names to families, and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

from tests.detectors.build import RTDETR, rtdetr
from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_base, supported
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.rtdetr import RtdetrDetector
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import CheckpointError


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    """A small YOLO as a user may write it down."""
    layers: dict[str, Any] = {
        "nc": 3,
        "scales": {"n": [1.0, 1.0, 64]},
        "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "C2f", [16, True]]],
        "head": [[-1, 1, "Conv", [16, 3, 2]], [[2, 3], 1, "Detect", ["nc"]]],
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(layers))
    return file


def change(file: Path, **more: Any) -> str:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **more}))
    return str(file)


def test_the_network_in_a_file_tells_the_family(tmp_path: Path) -> None:
    assert type(load_base("yolo11n.yaml")) is YoloDetector
    detector = rtdetr()
    (file := tmp_path / "rt.yaml").write_text(yaml.safe_dump(RTDETR))
    assert type(load_base(str(file))) is RtdetrDetector
    detector.save_checkpoint(tmp_path / "rt.pt")
    again = load_base(str(tmp_path / "rt.pt"))
    assert type(again) is RtdetrDetector
    assert again.fingerprint == detector.fingerprint
    with pytest.raises(CheckpointError, match="RTDETRDecoder head, not a supported detector; expected a detection ch"):
        YoloDetector.load(str(tmp_path / "rt.pt"))


def test_unsupported_networks_are_refused_with_all_that_are_supported() -> None:
    with pytest.raises(CheckpointError, match=r"Segment.* head, not a supported detector") as caught:
        load_base("yolo11n-seg.yaml")
    assert "\n" not in str(caught.value)
    for family in ("YOLOv8", "RT-DETR", "transformers", "torchvision"):
        assert family in str(caught.value)
    assert supported() in str(caught.value)


def test_families_are_known_by_name() -> None:
    assert {"ultralytics-yolo", "ultralytics-rtdetr", "transformers", "torchvision"} <= Detector.families.keys()


def test_an_architecture_of_one_s_own_loads_and_trains(architecture: Path) -> None:
    detector = load_base(str(architecture))
    assert (detector.base, len(detector.names)) == ("mine.yaml", 3)
    assert {detector.stage(f"model.{layer}.conv") for layer in range(5)} == {"backbone", "neck", "head"}
    detector.attach(new_adapter(detector, ["a"], rank=2))
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    losses = detector.losses(images, torch.tensor([[0, 0, 8.0, 8.0, 40.0, 40.0]]))
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_an_architecture_runs_no_code_and_changes_no_other(architecture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(architecture.parent)
    code = "__import__('pathlib').Path('executed').touch()"
    with pytest.raises(CheckpointError, match=r"expected one of torch\.nn, such as nn\.SiLU"):
        load_base(change(architecture, activation=code))
    assert not Path("executed").exists()
    before = Conv.default_act
    network = load_base(change(architecture, activation="nn.LeakyReLU(0.1)")).network
    assert isinstance(network.get_submodule("model.0.act"), nn.LeakyReLU)
    assert Conv.default_act is before


@pytest.mark.parametrize(
    "layer",
    [
        "load_checkpoint",  # of Ultralytics' own module, where it looks layers up: they load pickles
        "torch_safe_load",
        "DetectionModel",  # builds another architecture file, whose activation nobody has looked at
        "TorchVision",  # downloads weights
        "nn.Module",
        "torchvision.ops.misc",
    ],
)
def test_an_architecture_calls_nothing_but_layers(architecture: Path, layer: str) -> None:
    evil = architecture.parent / "evil.pt"
    torch.save({"model": Touch(architecture.parent / "executed")}, evil)
    backbone = [[-1, 1, layer, [str(evil)]], *yaml.safe_load(architecture.read_text())["backbone"]]
    with pytest.raises(CheckpointError, match=f"backbone: '{layer}' is no layer that a detector can be made of"):
        load_base(change(architecture, backbone=backbone))
    assert not (architecture.parent / "executed").exists()


@pytest.mark.parametrize("name", ["https://localhost:1/yolo11n.yaml", "gone/yolo11n.yaml"])
def test_an_architecture_is_a_file_or_one_that_ships(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no such architecture"):
        load_base(name)


class Touch:
    """A pickle of it makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return open, (str(self.file), "w")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head": [[-1, 1, "Nonsense", [1]]]}, "head: 'Nonsense' is no layer that a detector"),
        ({"head": [[[7, 8], 1, "Detect", ["nc"]]]}, "cannot be built .IndexError"),
        ({"head": []}, "head: expected a list of layers"),
        ({"head": [[[2, 3], 1, "Detect"]]}, "head: expected a list of layers"),
        ({"backbone": [[-1, 1, "Conv", ["wide", 3]]]}, "cannot be built"),
        ({"nc": None}, "cannot be built"),
    ],
)
def test_a_wrong_architecture_is_one_line(architecture: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_base(change(architecture, **wrong))
    assert "\n" not in str(caught.value)


def test_names_of_a_strangers_base_are_made_legible(architecture: Path) -> None:
    network: Any = DetectionModel(yaml.safe_load(architecture.read_text()), verbose=False)
    network.names = {0: "a\x1b[2Jb", 1: "c\ud800", 2: "キズ\u3000大"}
    assert YoloDetector.of(network.eval(), "a.pt").names == ("a�[2Jb", "c�", "キズ\u3000大")
