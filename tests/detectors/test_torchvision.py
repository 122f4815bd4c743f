"""Detectors of torchvision beside torchvision itself: the same boxes, weights that both read, refusals in one line."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

from tests.detectors.build import CLASSES, NAMES, TORCHVISION, _torchvision, as_trained, pictures, torchvision
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.readout import MEASURE, Readout
from vision_lora.detectors.torchvision import TorchvisionDetector, build, builders
from vision_lora.errors import CheckpointError, ConfigError

SSDLITE = "ssdlite320_mobilenet_v3_large"
OPEN = Readout(confidence=0.001, iou=0.5, limit=100, multi_label=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as torchvision has them: for background and three classes."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "ssdlite.pth"
    torch.save(build(SSDLITE, 4).state_dict(), file)
    return file


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("fold", [True, False])
def test_boxes_are_those_of_torchvision(name: str, fold: bool) -> None:
    torch.manual_seed(0)
    own: Any = as_trained(_torchvision(name))
    ours = TorchvisionDetector(copy.deepcopy(own), tuple("abcde"), name, fold=fold)
    assert bool(ours.norms) is fold
    own.transform = GeneralizedRCNNTransform(
        128, 128, own.transform.image_mean, own.transform.image_std, size_divisible=1
    )
    settings = own.roi_heads if name == "faster_rcnn" else own
    settings.score_thresh, settings.nms_thresh, settings.detections_per_img = OPEN.confidence, OPEN.iou, 10_000
    images = ours.prepare(pictures(2)[0])
    with torch.no_grad():
        theirs, found = own(list(images)), ours.read(images, OPEN)
    for mine, other in zip(found, theirs, strict=True):
        known = other["labels"] > 0  # torchvision may call a box background where classes are scored one by one
        scores, order = other["scores"][known].sort(descending=True, stable=True)
        count = min(len(mine.scores), 20)
        assert count
        assert torch.allclose(mine.scores[:count], scores[:count], atol=1e-5)
        assert torch.equal(mine.classes[:count], other["labels"][known][order][:count] - 1)
        assert torch.allclose(mine.boxes[:count], other["boxes"][known][order][:count], atol=2e-3)


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_box_has_one_class_where_one_is_asked_for(name: str) -> None:
    detector = torchvision(name)
    images = detector.prepare(pictures(1)[0])
    with torch.no_grad():
        many = detector.read(images, MEASURE)[0]
        one = detector.read(images, MEASURE._replace(multi_label=False))[0]
    places = {tuple(box.tolist()) for box in one.boxes}
    assert len(places) == len(one.boxes) <= len(many.boxes)


def test_weights_of_torchvision_load_by_path(weights: Path) -> None:
    detector = load_base(f"torchvision:{SSDLITE}:{weights}")
    assert (detector.family, detector.base) == ("torchvision", "ssdlite.pth")
    assert detector.names == ("class 1", "class 2", "class 3")
    assert not any("BatchNorm" in type(layer).__name__ for layer in detector.network.modules())
    found = detector.detect(pictures(1)[0], readout=MEASURE)
    assert len(found[0])


def test_official_weights_know_coco_s_names(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = build(SSDLITE, 91).state_dict()
    official: Any = detection.SSDLite320_MobileNet_V3_Large_Weights.DEFAULT
    monkeypatch.setattr(type(official), "get_state_dict", lambda self, *args, **more: state)
    detector = load_base(f"torchvision:{SSDLITE}")
    assert (len(detector.names), detector.names[0], detector.names[-1]) == (90, "person", "toothbrush")
    assert detector.base == f"torchvision:{SSDLITE}"


def test_full_fine_tuning_saves_weights_that_both_open(weights: Path, tmp_path: Path) -> None:
    detector = load_base(f"torchvision:{SSDLITE}:{weights}", fold=False)
    replace_classes(detector, (*NAMES, "rust"))
    unfreeze(detector)
    torch.stack(list(detector.losses(*pictures(2)).values())).sum().backward()
    trained = [p for p in detector.network.parameters() if p.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
    detector.save_checkpoint(tmp_path / "full.pt")
    again = load_base(str(tmp_path / "full.pt"), fold=False)
    assert again.names == (*NAMES, "rust")
    for one, other in zip(*(d.detect(pictures(2)[0], readout=MEASURE) for d in (detector, again)), strict=True):
        assert (one.boxes == other.boxes).all()
        assert (one.scores == other.scores).all()
    own = build(SSDLITE, 5)
    own.load_state_dict(torch.load(tmp_path / "full.pt", weights_only=True)["model"])
    folded = load_base(str(tmp_path / "full.pt"))
    with pytest.raises(ConfigError, match="loaded folded"):
        folded.save_checkpoint(tmp_path / "no.pt")
    assert not (tmp_path / "no.pt").exists()


@pytest.mark.parametrize("name", TORCHVISION)
def test_class_layers_are_put_together_as_they_were(name: str) -> None:
    torch.manual_seed(0)
    own = as_trained(_torchvision(name))
    before = {key: tensor.clone() for key, tensor in own.state_dict().items()}
    from vision_lora.detectors.torchvision import _joined

    after = _joined(TorchvisionDetector(own, tuple("abcde"), name, fold=False).network).state_dict()
    assert before.keys() == after.keys()
    different = {key for key in before if not torch.equal(before[key], after[key])}
    # What torchvision never reads: the box of background, and its score where classes are scored one by one.
    unread = {
        "faster_rcnn": {"roi_heads.box_predictor.bbox_pred.weight", "roi_heads.box_predictor.bbox_pred.bias"},
        "ssdlite": set(),
    }.get(name, {f"head.classification_head.cls_logits.{part}" for part in ("weight", "bias")})
    assert different == unread
    for key in unread:
        rows = 4 if name == "faster_rcnn" else 1
        old, new = (state[key].view(-1, CLASSES + 1, rows, *state[key].shape[1:]) for state in (before, after))
        assert torch.equal(old[:, 1:], new[:, 1:])


def test_batchnorm_that_was_frozen_stays_frozen(weights: Path, tmp_path: Path) -> None:
    """Weights of frozen BatchNorm have no count of batches; full fine-tuning must not unfreeze it."""
    state = {key: value for key, value in torch.load(weights).items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "frozen.pth")
    detector = load_base(f"torchvision:{SSDLITE}:{tmp_path / 'frozen.pth'}", fold=False)
    kinds = {type(layer) for layer in detector.network.modules() if "BatchNorm" in type(layer).__name__}
    assert kinds == {FrozenBatchNorm2d}
    plain = load_base(f"torchvision:{SSDLITE}:{weights}", fold=False)
    assert {type(layer) for layer in plain.network.modules() if "BatchNorm" in type(layer).__name__} == {nn.BatchNorm2d}


@pytest.mark.parametrize("name", TORCHVISION)
def test_half_precision_in_training_leaves_the_base_as_it_was(name: str) -> None:
    """Anchors are made in the features' precision and kept: in half they would move the base's boxes ever after."""
    detector, fresh = (torchvision(name) for _ in range(2))
    fresh.network.load_state_dict(detector.network.state_dict())
    detector.attach(new_adapter(detector, NAMES, rank=2))
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.losses(*pictures(2))
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    for one, other in zip(
        detector.detect(pictures(2)[0], mode="general", readout=MEASURE),
        fresh.detect(pictures(2)[0], readout=MEASURE),
        strict=True,
    ):
        assert (one.boxes == other.boxes).all()
        assert (one.scores == other.scores).all()


@pytest.mark.parametrize("name", TORCHVISION)
def test_pictures_without_boxes_are_trained_on(name: str) -> None:
    images, targets = pictures(2)
    flat = torch.tensor([[0, 1, 20, 20, 20, 60]], dtype=torch.float32)  # no width: torchvision would stop
    detector = torchvision(name)
    detector.attach(new_adapter(detector, NAMES, rank=1))
    for some in (torch.cat((targets[targets[:, 0] == 1], flat)), targets[:0]):
        assert all(torch.isfinite(loss) for loss in detector.losses(images, some).values())


def test_boxes_of_new_classes_start_where_those_of_known_ones_are() -> None:
    detector = torchvision("faster_rcnn")
    rows = new_adapter(detector, NAMES).class_rows["roi_heads.box_predictor.boxes.0"]
    own: Any = detector.network.get_submodule("roi_heads.box_predictor.boxes.0")
    assert torch.allclose(rows.weight, own.weight.mean(0).expand(len(NAMES), -1))


def test_every_builder_is_known_and_others_are_refused(tmp_path: Path, weights: Path) -> None:
    assert len(builders()) >= 9
    assert not any("mask" in name or "keypoint" in name for name in builders())
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pth")

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch executed",)

    torch.save({"model": Code()}, tmp_path / "evil.pth")
    for name, message in {
        "torchvision:maskrcnn_resnet50_fpn": "no such detector; expected one of fasterrcnn",
        f"torchvision:{SSDLITE}:{tmp_path}/gone.pth": "no such file",
        f"torchvision:{SSDLITE}:{tmp_path}/text.pth": "not a readable checkpoint",
        f"torchvision:{SSDLITE}:{tmp_path}/other.pth": f"not the weights of {SSDLITE}",
        f"torchvision:{SSDLITE}:{tmp_path}/evil.pth": "refused, its pickle names code",
        f"torchvision:fcos_resnet50_fpn:{weights}": "not the weights of fcos_resnet50_fpn",
        str(weights): f"holds no network; .*torchvision:NAME:{weights}",
    }.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            load_base(name)
        assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


def test_without_internet_it_asks_for_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **more: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(CheckpointError, match=r"download failed \(no route to host\).*retinanet.*:/path/to/file"):
        load_base("torchvision:retinanet_resnet50_fpn")
