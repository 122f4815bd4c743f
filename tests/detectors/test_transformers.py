"""Detectors of transformers beside transformers itself: the same boxes, files that both read, refusals in one line."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from tests.detectors.build import (
    CLASSES,
    NAMES,
    TRANSFORMERS,
    as_trained,
    configuration,
    hugging,
    pictures,
)
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter, plan_adapter
from vision_lora.detectors.readout import MEASURE, Readout
from vision_lora.detectors.transformers import TransformersDetector
from vision_lora.errors import CheckpointError, ConfigError, TrainingError


def network(name: str) -> Any:
    torch.manual_seed(0)
    return as_trained(transformers.AutoModelForObjectDetection.from_config(configuration(name)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as transformers writes it."""
    network("yolos").save_pretrained(tmp_path / "tiny-yolos")
    transformers.YolosImageProcessor().save_pretrained(tmp_path / "tiny-yolos")
    return tmp_path / "tiny-yolos"


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_folding_keeps_what_it_computes(name: str) -> None:
    """With a query for each cell: which of two equally good cells is chosen may depend on the last bit."""
    torch.manual_seed(0)
    plain = hugging(name, fold=False)
    torch.manual_seed(0)
    folded = hugging(name)
    left = [type(layer).__name__ for layer in folded.network.modules() if "BatchNorm" in type(layer).__name__]
    assert not left
    assert isinstance(folded, TransformersDetector)
    assert bool(folded.norms) == any("BatchNorm" in type(layer).__name__ for layer in plain.network.modules())
    images, logits = plain.prepare(pictures(1)[0]), []
    for one in (plain, folded):
        assert isinstance(one, TransformersDetector)
        if "num_denoising" in one._net.config.to_dict():
            one._net.config.num_queries = 16 * 16 + 8 * 8 + 4 * 4
        with torch.no_grad():
            logits.append(one._forward(images).logits.flatten().sort().values)
    assert torch.allclose(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "processor"), [
    ("yolos", "YolosImageProcessor"),
    ("detr", "DetrImageProcessor"),
    ("conditional_detr", "ConditionalDetrImageProcessor"),
    ("rt_detr", "RTDetrImageProcessor"),
    ("rf_detr", "RfDetrImageProcessor"),
])  # fmt: skip
def test_boxes_are_those_of_transformers(name: str, processor: str) -> None:
    """Its own way in and out, on a square that needs no resizing: the same scores, classes and boxes in pixels."""
    kind = getattr(transformers, processor)(size={"height": 128, "width": 128})
    own = network(name)
    if name == "rt_detr":  # a query for each cell, see above
        own.config.num_queries = 16 * 16 + 8 * 8 + 4 * 4
    ours = TransformersDetector(copy.deepcopy(own), kind, name)
    images = pictures(2)[0]
    with torch.no_grad():
        inputs = kind(images=list(images), return_tensors="pt")
        theirs = kind.post_process_object_detection(
            own(pixel_values=inputs["pixel_values"]), threshold=0.0, target_sizes=[(128, 128)] * 2
        )
        found = ours.read(ours.prepare(images), Readout(confidence=0.0, multi_label=name not in ("yolos", "detr")))
    for mine, other in zip(found, theirs, strict=True):
        order = other["scores"].argsort(descending=True, stable=True)[: len(mine.scores)]
        assert torch.allclose(mine.scores[: len(order)], other["scores"][order], atol=1e-4)
        assert torch.equal(mine.classes[:5], other["labels"][order][:5])
        assert torch.allclose(mine.boxes[:5], other["boxes"][order][:5].clamp(0, 128), atol=0.05)


def test_a_local_folder_loads_and_gives_its_names(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(index): name for index, name in enumerate("abcde")}
    (folder / "config.json").write_text(json.dumps(config))
    detector = load_base(f"hf:{folder}")
    assert (detector.family, detector.names, detector.base) == ("transformers", tuple("abcde"), "tiny-yolos")
    assert not detector.norms
    again = load_base(str(folder))
    assert again.fingerprint == detector.fingerprint


def test_full_fine_tuning_saves_a_folder_that_both_open(tmp_path: Path) -> None:
    for name in ("detr", "rt_detr", "deformable_detr two-stage"):
        torch.manual_seed(0)
        detector = hugging(name, fold=False)
        replace_classes(detector, NAMES)
        unfreeze(detector)
        loss = torch.stack(list(detector.losses(*pictures(2)).values())).sum()
        loss.backward()
        path = tmp_path / f"{name} trained"
        for _ in range(2):  # the second replaces the first
            detector.save_checkpoint(path)
        again = load_base(str(path), fold=False)
        assert again.names == NAMES
        for one, other in zip(*(d.detect(pictures(2)[0], readout=MEASURE) for d in (detector, again)), strict=True):
            assert (one.boxes == other.boxes).all()
            assert (one.scores == other.scores).all()
        own, report = transformers.AutoModelForObjectDetection.from_pretrained(path, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        assert own.config.id2label == dict(enumerate(NAMES))
        assert not list(tmp_path.glob("*.partial"))


def test_a_folded_network_is_not_saved_as_if_it_were_whole(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loaded folded"):
        hugging("detr").save_checkpoint(tmp_path / "no")
    assert not list(tmp_path.iterdir())


def test_pictures_are_padded_to_whole_windows() -> None:
    """Patches of 14 in 2 windows: 128 pixels become 140, and boxes stay in pixels of the 128."""
    config = configuration("rf_detr")
    config.backbone_config.patch_size, config.backbone_config.image_size = 14, 56
    torch.manual_seed(0)
    own = as_trained(transformers.AutoModelForObjectDetection.from_config(config))
    detector = TransformersDetector(own, transformers.DetrImageProcessor(), "rf")
    assert detector.stride == 28
    images, targets = pictures(2)
    found = detector.detect(images, readout=MEASURE)[0]
    assert len(found)
    assert found.boxes.max() <= 128
    loss = detector.losses(images, targets)["detection"]
    assert torch.isfinite(loss)


def test_fewer_cells_than_queries_is_the_user_s_to_mend() -> None:
    detector = hugging("rt_detr")
    detector.network.config.num_queries = 100  # type: ignore[union-attr]
    detector.detect(pictures(1)[0])  # 16² + 8² + 4² cells
    with pytest.raises(ConfigError, match="64 px have fewer cells than it has queries; give a larger --imgsz"):
        detector.detect(pictures(1, 64)[0])  # 8² + 4² + 2²


def test_outputs_that_are_no_numbers_stop_training_in_one_line() -> None:
    detector = hugging("yolos")
    adapter = new_adapter(detector, NAMES, rank=1)
    detector.attach(adapter)
    with torch.no_grad():
        next(iter(adapter.class_rows.values())).weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not numbers: try a lower --lr"):
        detector.losses(*pictures(1))


def test_layers_without_effect_are_left_alone() -> None:
    """DETR's queries start as zeros, and transformers trains no proposals of a two-stage Deformable DETR."""
    plan = {entry.site: entry for entry in plan_adapter(hugging("detr"), 2).entries}
    assert not plan["model.decoder.layers.0.self_attn.v_proj"].variant
    assert "always zero" in plan["model.decoder.layers.0.self_attn.v_proj"].reason
    assert plan["model.decoder.layers.1.self_attn.v_proj"].variant
    plan = {entry.site: entry for entry in plan_adapter(hugging("deformable_detr two-stage"), 2).entries}
    assert not plan["model.decoder.class_embed.2"].variant
    assert plan["model.decoder.class_embed.1"].new_rows == 2


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
def test_losses_are_computed_in_full_precision(precision: torch.dtype) -> None:
    detector = hugging("rt_detr_v2")
    detector.attach(new_adapter(detector, NAMES, rank=2))
    seen: list[torch.dtype] = []
    loss = detector.network._loss_function._loss  # type: ignore[union-attr]

    def watched(logits: torch.Tensor, *args: Any, **more: Any) -> Any:
        seen.append(logits.dtype)
        return loss(logits, *args, **more)

    detector.network._loss_function._loss = watched  # type: ignore[union-attr]
    with torch.autocast("cpu", precision):
        detector.losses(*pictures(2))["detection"].backward()
    assert seen == [torch.float32]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_pictures_without_boxes_are_trained_on(name: str) -> None:
    images, targets = pictures(2)
    detector = hugging(name)
    detector.attach(new_adapter(detector, NAMES, rank=1))
    for some in (targets[targets[:, 0] == 1], targets[:0]):
        assert torch.isfinite(detector.losses(images, some)["detection"])


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"pip install 'vision_lora\[transformers\]'"):
        load_base("hf:PekingU/rtdetr_v2_r18vd")


def test_without_internet_it_asks_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="without internet, copy the folder") as caught:
        load_base("hf:nobody/has-this-detector")
    assert "\n" not in str(caught.value)


def test_what_is_no_detector_is_refused_with_those_that_are(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_base(f"hf:{tmp_path}/nowhere")
    transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match=r"a vit network, not a detector .*expected one of .*rt_detr_v2.*yolos"):
        load_base(f"hf:{tmp_path / 'vit'}")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        load_base(f"hf:{folder}")


def test_incomplete_and_broken_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        load_base(f"hf:{tmp_path / 'cut'}")
    assert "\n" not in str(caught.value)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("class_labels_classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="weights are not complete, 6 tensors are missing"):
        load_base(f"hf:{folder}")
    torch.save(tensors, folder / "pytorch_model.bin")  # a pickle: never read
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_base(f"hf:{folder}")


def test_new_classes_start_as_likely_as_they_should() -> None:
    """Scored one by one, at a chance of 0.01; in competition with no object, as its equals."""
    for name, expected in (("rt_detr", 0.01), ("conditional_detr", 0.01)):
        detector = hugging(name)
        rows = new_adapter(detector, NAMES).class_rows
        biases = [one.bias for one in rows.values() if one.bias is not None]
        assert biases
        assert all(torch.allclose(bias.sigmoid(), torch.tensor(expected), atol=1e-6) for bias in biases)
    rows = new_adapter(hugging("detr"), NAMES).class_rows
    assert all(not one.bias.any() for one in rows.values() if one.bias is not None)


def test_tied_layers_are_adapted_once() -> None:
    detector = hugging("rt_detr_v2")
    net: Any = detector.network
    assert net.class_embed[0] is net.model.decoder.class_embed[0]
    assert isinstance(net.class_embed[0], nn.Linear)
    assert len(detector.class_layers()) == 4
    assert len(net.class_embed[0].weight) == CLASSES


def test_a_backbone_of_timm_is_folded_too() -> None:
    values = {name: value for name, value in configuration("detr").to_dict().items() if name != "backbone_config"}
    config = transformers.DetrConfig(
        **{**values, "use_timm_backbone": True, "backbone": "resnet18", "use_pretrained_backbone": False}
    )
    torch.manual_seed(0)
    own = as_trained(transformers.AutoModelForObjectDetection.from_config(config))
    detector = TransformersDetector(own, transformers.DetrImageProcessor(), "timm")
    assert len(detector.norms) == 20
    detector.attach(new_adapter(detector, NAMES, rank=1))
    assert torch.isfinite(detector.losses(*pictures(1))["detection"])
