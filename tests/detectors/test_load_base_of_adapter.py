"""Where the base of an adapter comes from: what its card names is used where it is here, and never fetched for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vision_lora.export
import vision_lora.predict
from tests.detectors.fuzz_checkpoints import TINY
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import save_adapter
from vision_lora.detectors.load import load_base, load_detector
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.errors import CheckpointError, WrongBaseError

# isort: split
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import SETTINGS


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A machine without a network, in an empty folder; the list says what was asked of the network."""
    asked: list[str] = []

    def offline(what: Any, *_: Any, **more: Any) -> Any:
        asked.append(str(what or more))
        raise ConnectionError("no route to host")

    monkeypatch.setattr("vision_lora.detectors.checkpoints.weights.attempt_download_asset", offline)
    monkeypatch.setattr("socket.socket.connect", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setitem(SETTINGS, "weights_dir", str(tmp_path / "weights"))
    for folder in ("work", "adapters", "weights", "hub/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    return asked


@pytest.fixture
def adapter(fetched: list[str], tmp_path: Path) -> Callable[[str], str]:
    """Write an adapter for a small base whose card calls it so."""
    torch.save({"model": DetectionModel(dict(TINY), verbose=False)}, tmp_path / "base.pt")
    detector = load_base(str(tmp_path / "base.pt"))
    detector.side = 64
    made = new_adapter(detector, ["dent"], imgsz=64)

    def named(base: str) -> str:
        file = tmp_path / "adapters" / "a.safetensors"
        save_adapter(Adapter(made.deltas, replace(made.card, base=base)), file)
        return str(file)

    return named


@pytest.mark.parametrize(
    ("base", "advice"),
    [
        ("yolo11n.pt", "--model yolo11n.pt"),
        ("torchvision:fcos_resnet50_fpn", "--model torchvision:fcos_resnet50_fpn"),
        ("line-3.pt", "--model /path/to/line-3.pt"),
        ("hf:rtdetr_r18vd", "--model /path/to/hf:rtdetr_r18vd"),
        ("yolo11n.yaml", "--model /path/to/yolo11n.yaml"),
        ("torchvision:fcos_resnet50_fpn:w.pth", "--model /path/to/torchvision:fcos_resnet50_fpn:w.pth"),
        ("https:", "--model /path/to/https:"),
        ("..", "--model /path/to/.."),
    ],
)
def test_nothing_is_fetched_or_built_because_a_card_says_so(
    base: str, advice: str, adapter: Callable[[str], str], fetched: list[str]
) -> None:
    file = adapter(base)
    with pytest.raises(CheckpointError) as caught:
        load_detector(None, file, "cpu")
    message = str(caught.value)
    assert message.startswith("the adapter's base is not here, not beside it and not downloaded; ")
    assert f"{file} was made for the base {base} (" in message
    assert message.endswith(f" and fits no other: {advice}")
    assert "starter" not in message
    assert "\n" not in message
    assert not fetched


@pytest.mark.parametrize("place", ["work", "adapters", "weights"])
def test_the_base_is_found_here_beside_the_adapter_and_among_downloads(
    place: str, adapter: Callable[[str], str], tmp_path: Path, fetched: list[str]
) -> None:
    file = adapter("yolo11n.pt")
    (tmp_path / "base.pt").rename(tmp_path / place / "yolo11n.pt")
    detector = load_detector(None, file, "cpu")
    assert detector.adapter is not None
    assert (detector.base, detector.adapter.card.names) == ("yolo11n.pt", ("dent",))
    assert not fetched


def test_a_file_of_that_name_has_to_be_the_base(adapter: Callable[[str], str], tmp_path: Path) -> None:
    file = adapter("yolo11n.pt")
    torch.save({"model": DetectionModel(dict(TINY), verbose=False)}, tmp_path / "work" / "yolo11n.pt")
    with pytest.raises(WrongBaseError, match=r"made for base yolo11n\.pt"):
        load_detector(None, file, "cpu")


def test_a_file_cannot_pass_for_a_family_s_name(
    adapter: Callable[[str], str], tmp_path: Path, fetched: list[str]
) -> None:
    """A name with a prefix that is a file here is that file, not weights to be downloaded."""
    file = adapter("torchvision:fcos_resnet50_fpn")
    (tmp_path / "base.pt").rename(tmp_path / "work" / "torchvision:fcos_resnet50_fpn")
    assert load_detector(None, file, "cpu").adapter is not None
    assert not fetched


def test_downloaded_weights_of_torchvision_are_used(
    adapter: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = adapter("torchvision:fcos_resnet50_fpn"), []
    (tmp_path / "hub" / "checkpoints" / "fcos_resnet50_fpn_coco-99b0c9b7.pth").touch()
    monkeypatch.setattr("vision_lora.detectors.load.load_base", lambda name: asked.append(name) or load_base("starter"))
    with pytest.raises(WrongBaseError):
        load_detector(None, file, "cpu")
    assert asked == ["torchvision:fcos_resnet50_fpn"]


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("gone.pt", "gone.pt: no such checkpoint"),
        ("yolo11x.pt", "yolo11x.pt: the download failed (no route to host)"),
        ("torchvision:fcos_resnet50_fpn", "torchvision:fcos_resnet50_fpn: the download failed (no route to host)"),
    ],
)
def test_no_other_base_is_advised_for_an_adapter(model: str, found: str, adapter: Callable[[str], str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_detector(model, adapter("yolo11n.pt"), "cpu")
    assert str(caught.value).startswith(f"{found}; ")
    assert str(caught.value).endswith("and fits no other: --model /path/to/yolo11n.pt")
    assert "starter" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"starter|/path/to/file"):  # where any base will do
        load_detector(model, None, "cpu")


def test_an_adapter_of_the_starter_needs_no_path(tmp_path: Path) -> None:
    detector = load_base("starter")
    save_adapter(new_adapter(detector, ["dent"], rank=1, imgsz=64), tmp_path / "a.safetensors")
    assert load_detector(None, str(tmp_path / "a.safetensors"), "cpu").base == "starter"
    with pytest.raises(CheckpointError, match=r"fits no other: --model starter$"):
        load_detector("gone.pt", str(tmp_path / "a.safetensors"), "cpu")


def test_verbs_say_it_in_one_line(
    adapter: Callable[[str], str], fetched: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = adapter("yolo11n.pt")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("a.png")
    for main, words in (
        (vision_lora.export.main, ["--out", "a.onnx"]),
        (vision_lora.predict.main, ["--source", "a.png"]),
    ):
        assert main(["--adapter", file, *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "fits no other: --model yolo11n.pt" in error
    assert not fetched
    assert [path.name for path in Path().iterdir()] == ["a.png"]
