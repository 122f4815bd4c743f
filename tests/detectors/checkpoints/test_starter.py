"""The base that ships with the package: there, whole, small, and a detector like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.ops import box_iou
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import ASSETS

from tests.detectors.build import NAMES, pictures
from vision_lora.detectors.checkpoints.starter import FILE, KEY, read_starter, write_starter
from vision_lora.detectors.full import replace_classes
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.errors import CheckpointError
from vision_lora.pictures.images import read_image
from vision_lora.zoo.pack import main as pack

RECIPE = Path(__file__).parents[3] / "configs" / "starter.yaml"


@pytest.fixture
def network() -> Any:
    """Random weights of the starter's kind, with three classes."""
    made: Any = DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    made.names = dict(enumerate(NAMES))
    return made


def test_loads_without_network_and_speaks_voc_s_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    detector = load_base("starter")
    recipe = yaml.safe_load(RECIPE.read_text())
    assert ",".join(detector.names) == recipe["classes"]
    assert (detector.base, detector.imgsz, len(detector.names)) == ("starter", recipe["imgsz"], 20)
    assert FILE.stat().st_size <= 6e6


def test_finds_the_bus_and_its_people() -> None:
    """In Ultralytics' bundled picture, at corners that were read off it; an overlap of half counts, as in mAP50."""
    bus = (22, 231, 805, 757)
    people = ((48, 399, 245, 903), (221, 405, 345, 857), (669, 392, 810, 877))
    (found,) = load_base("starter").predict([read_image(ASSETS / "bus.jpg")], 320)
    boxes, names = torch.as_tensor(found.boxes), [found.names[index] for index in found.classes]
    seen = {
        name: box_iou(boxes[[one == name for one in names]], torch.tensor(truth, dtype=torch.float32)).amax(0) >= 0.5
        for name, truth in {"bus": (bus,), "person": people}.items()
    }
    assert seen["bus"].all()
    assert seen["person"].sum() >= 2


def test_an_adapter_on_it_names_it_and_loads_with_nothing_else(tmp_path: Path) -> None:
    detector = load_base("starter")
    adapter = new_adapter(detector, ["scratch"], rank=2, imgsz=96)
    detector.attach(adapter)
    assert adapter.card.base == "starter"
    again = load_base(adapter.card.base)
    assert again.fingerprint == adapter.card.fingerprint
    again.save_checkpoint(tmp_path / "a.pt")
    assert load_base(str(tmp_path / "a.pt")).names == detector.names


def test_a_network_comes_back_as_it_was_to_half_precision(network: Any, tmp_path: Path) -> None:
    write_starter(network, 96, tmp_path / "a.safetensors")
    again, side = read_starter(tmp_path / "a.safetensors")
    assert side == 96
    assert dict(enumerate(NAMES)) == again.names
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            exact = ".running_" in name
            torch.testing.assert_close(
                again.state_dict()[name], tensor if exact else tensor.half().float(), rtol=0, atol=0
            )


def test_a_network_that_got_other_classes_comes_back_too(tmp_path: Path) -> None:
    """Its head's branches stay as wide as the 80 classes that it was built for asked for."""
    detector = load_base("yolo11n.yaml", fold=False)
    replace_classes(detector, NAMES)
    detector.save_checkpoint(tmp_path / "best.pt")
    assert pack([str(tmp_path / "best.pt"), "--imgsz", "96", "--out", str(tmp_path / "a.safetensors")]) == 0
    network, _ = read_starter(tmp_path / "a.safetensors")
    images = pictures()[0].float() / 255
    with torch.no_grad():
        expected, found = detector.network.eval()(images)[0], network(images)[0]
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.5)  # half precision of weights; boxes in pixels
    assert found.shape == expected.shape


def test_numbers_that_half_precision_lacks_are_refused(network: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        next(network.parameters())[0] = 1e6
    with pytest.raises(CheckpointError, match=r"not written: model\.0\.conv\.weight holds numbers"):
        write_starter(network, 96, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_missing_or_damaged_is_one_line(network: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="is not there; install vision_lora again"):
        read_starter(file)
    write_starter(network, 96, file)
    whole, tensors = file.read_bytes(), load_file(file)
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()[KEY])
    broken: list[tuple[dict[str, torch.Tensor], dict[str, str]]] = [
        (tensors, {}),
        (tensors, {KEY: "{"}),
        (tensors, {KEY: json.dumps({**header, "names": ["one"]})}),
        (dict(list(tensors.items())[1:]), {KEY: json.dumps(header)}),
    ]
    for data, metadata in broken:
        save_file(data, file, metadata)
        with pytest.raises(CheckpointError, match=r"damaged .*; install vision_lora again") as caught:
            read_starter(file)
        assert "\n" not in str(caught.value)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        read_starter(file)


def test_pack_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert pack([]) == 2
    assert "no file given" in capsys.readouterr().err


def test_it_learns(tmp_path: Path) -> None:
    detector = load_base("starter")
    detector.attach(new_adapter(detector, NAMES, rank=4))
    learned = detector.adapter
    assert learned is not None
    optimizer, history = torch.optim.AdamW(learned.parameters(), 2e-3), []
    images, targets = pictures()
    for _ in range(8):
        loss = torch.stack(list(detector.losses(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.9 * history[0]
