"""RT-DETR beside Ultralytics' own: boxes, losses, files; and what of it is adapted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.nn.tasks import RTDETRDetectionModel

from tests.detectors.build import CLASSES, NAMES, RTDETR, as_trained, pictures, rtdetr
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter, plan_adapter
from vision_lora.detectors.readout import MEASURE
from vision_lora.detectors.rtdetr import RtdetrDetector


def own() -> Any:
    torch.manual_seed(0)
    return as_trained(RTDETRDetectionModel(copy.deepcopy(RTDETR), verbose=False))


@pytest.mark.parametrize("fold", [True, False])
def test_boxes_are_those_of_ultralytics(fold: bool) -> None:
    network = own()
    detector = RtdetrDetector.of(copy.deepcopy(network), "rt.yaml", fold=fold)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in detector.network.modules()) is not fold
    images = detector.prepare(pictures(2)[0])
    with torch.no_grad():
        expected, found = network(images)[0], detector.read(images, MEASURE)
    for rows, one in zip(expected, found, strict=True):
        centres, sizes = rows[:, :2] * 128, rows[:, 2:4] * 128
        boxes = torch.cat((centres - sizes / 2, centres + sizes / 2), 1).clamp(0, 128)
        count = len(rows)
        assert count == 20
        assert torch.allclose(one.scores[:count], rows[:, 4], atol=1e-5)
        assert torch.equal(one.classes[:3], rows[:3, 5].long())
        assert torch.allclose(one.boxes[:3], boxes[:3], atol=1e-2)


def test_a_query_has_one_class_where_one_is_asked_for() -> None:
    detector = rtdetr()
    images = detector.prepare(pictures(1)[0])
    with torch.no_grad():
        found = detector.read(images, MEASURE._replace(multi_label=False))[0]
    assert len(found.boxes) == 20  # of its 20 queries


def test_losses_are_those_of_ultralytics() -> None:
    network = own()
    detector = RtdetrDetector.of(copy.deepcopy(network), "rt.yaml", fold=False)
    images, targets = pictures(3)
    targets[:, 1] %= CLASSES
    x, corners = detector.prepare(images), targets[:, 2:] / 128
    batch = {
        "img": x,
        "batch_idx": targets[:, 0],
        "cls": targets[:, 1],
        "bboxes": torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1),
    }
    network.nc = CLASSES
    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    torch.manual_seed(1)
    expected = network.loss(batch)[0]
    for order in (torch.arange(len(targets)), torch.randperm(len(targets))):  # boxes of a batch in any order
        by_picture = order[targets[order, 0].argsort(stable=True)]
        torch.manual_seed(1)
        losses = detector.losses(images, targets[order])
        assert losses.keys() == {"class", "bbox", "giou"}
        if torch.equal(by_picture, torch.arange(len(targets))):
            assert torch.allclose(torch.stack(list(losses.values())).sum(), expected, rtol=1e-4)
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_every_part_is_adapted() -> None:
    plan = {entry.site: entry for entry in plan_adapter(rtdetr(), 2).entries}
    adapted = {site for site, entry in plan.items() if entry.variant}
    head, encoder = "model.7", "model.5"
    for site in (
        "model.2.m.0.conv1.conv",  # backbone
        f"{encoder}.ma.in_proj",  # AIFI
        f"{encoder}.ma.out_proj",
        f"{encoder}.fc1",
        f"{head}.input_proj.0.0",
        f"{head}.decoder.layers.1.self_attn.in_proj",
        f"{head}.decoder.layers.1.self_attn.out_proj",
        f"{head}.decoder.layers.1.cross_attn.sampling_offsets",
        f"{head}.decoder.layers.1.cross_attn.attention_weights",
        f"{head}.decoder.layers.1.cross_attn.value_proj",
        f"{head}.decoder.layers.1.cross_attn.output_proj",
        f"{head}.decoder.layers.1.linear1",
        f"{head}.decoder.layers.1.linear2",
        f"{head}.dec_bbox_head.1.layers.2",
    ):
        assert site in adapted, site
    rows = {site for site, entry in plan.items() if entry.new_rows == 2}
    scores = {f"{head}.enc_score_head", f"{head}.dec_score_head.0", f"{head}.dec_score_head.1"}
    assert rows == {*scores, f"{head}.denoising_class_embed"}


def test_denoising_learns_the_new_classes() -> None:
    """Its embedding is read, never called: rows that are not in what is read would get no gradient."""
    detector = rtdetr()
    adapter = new_adapter(detector, NAMES, rank=1)
    detector.attach(adapter)
    torch.stack(list(detector.losses(*pictures(2)).values())).sum().backward()
    rows = adapter.class_rows["model.7.denoising_class_embed"].weight
    assert rows.grad is not None
    assert (rows.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_in_training_leaves_the_base_as_it_was(precision: torch.dtype) -> None:
    """The decoder keeps its anchors: in half they would move the base's boxes ever after."""
    torch.manual_seed(0)
    detector = rtdetr()
    before = detector.detect(pictures(2)[0], readout=MEASURE)
    detector.attach(new_adapter(detector, NAMES, rank=2))
    with torch.autocast("cpu", precision):
        losses = detector.losses(*pictures(2))
        torch.stack(list(losses.values())).sum().backward()
    assert detector.head.anchors.dtype == torch.float32
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    after = detector.detect(pictures(2)[0], mode="general", readout=MEASURE)
    for one, other in zip(before, after, strict=True):
        assert (one.boxes == other.boxes).all()
        assert (one.scores == other.scores).all()


def test_pictures_without_boxes_are_trained_on() -> None:
    images, targets = pictures(2)
    detector = rtdetr()
    detector.attach(new_adapter(detector, NAMES, rank=1))
    for some in (targets[targets[:, 0] == 1], targets[:0]):
        assert all(torch.isfinite(loss) for loss in detector.losses(images, some).values())


def test_full_fine_tuning_saves_a_checkpoint_that_both_open(tmp_path: Path) -> None:
    detector = RtdetrDetector.of(own(), "rt.yaml", fold=False)
    replace_classes(detector, NAMES)
    unfreeze(detector)
    torch.stack(list(detector.losses(*pictures(2)).values())).sum().backward()
    trained = {name: p for name, p in detector.network.named_parameters() if p.requires_grad}
    assert all(parameter.grad is not None for parameter in trained.values())
    detector.save_checkpoint(tmp_path / "full.pt")
    again = load_base(str(tmp_path / "full.pt"), fold=False)
    assert again.names == NAMES
    for one, other in zip(*(d.detect(pictures(2)[0], readout=MEASURE) for d in (detector, again)), strict=True):
        assert np.allclose(one.boxes, other.boxes, atol=1e-3)
        assert np.allclose(one.scores, other.scores, atol=1e-6)
    assert ultralytics.RTDETR(tmp_path / "full.pt").names == dict(enumerate(NAMES))
    assert detector.losses(*pictures(2))  # saving leaves the detector as it was


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rtdetr-l.yaml", "rtdetr-resnet50.yaml"])
def test_the_large_ones_load(name: str) -> None:
    detector = load_base(name)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in detector.network.modules())
    plan = plan_adapter(detector, 6)
    assert len([entry for entry in plan.adapted if entry.new_rows]) == 8
    assert {detector.stage(entry.site) for entry in plan.adapted} == {"backbone", "neck", "head"}
    assert len(detector.detect(torch.zeros(1, 3, 160, 160, dtype=torch.uint8), readout=MEASURE)[0])
