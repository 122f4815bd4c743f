"""What real checkpoints are comes back as it was; what is none is told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.detectors.build import RTDETR
from tests.detectors.checkpoints.build import refused, saved, small
from tests.detectors.fuzz_checkpoints import archive, tiny
from vision_lora.detectors.checkpoints import weights
from vision_lora.detectors.load import load_base

# isort: split
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import v8DetectionLoss

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
