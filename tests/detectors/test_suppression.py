"""Suppression of a batch at once: what one picture and one class after the other give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, nms
from ultralytics.utils.nms import non_max_suppression

from vision_lora.detectors import suppression
from vision_lora.detectors.readout import MEASURE, Found, Readout
from vision_lora.detectors.suppression import read_dense


def outputs(seed: int, *, classes: int, pictures: int = 5, cells: int = 400) -> Tensor:
    """Crowded boxes in 320 px; the second picture is empty; some scores are equal."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(pictures, 2, cells, generator=generator) * 320
    sides = 20 + 60 * torch.rand(pictures, 2, cells, generator=generator)
    scores = torch.rand(pictures, classes, cells, generator=generator) ** 3
    scores = torch.where(torch.rand(scores.shape, generator=generator) < 0.2, (scores * 8).round() / 8, scores)
    scores[1] = 0
    return torch.cat((centres, sides, scores), 1)


def one_by_one(raw: Tensor, readout: Readout) -> list[Found]:
    """Each picture, and in it each class, by itself."""
    found = []
    for picture in raw:
        boxes, scores = box_convert(picture[:4].T, "cxcywh", "xyxy"), picture[4:].T
        if not readout.multi_label:
            best = scores.max(1, keepdim=True)
            scores = torch.zeros_like(scores).scatter(1, best.indices, best.values)
        parts = []
        for label, score in enumerate(scores.T):
            within = (score > readout.confidence).nonzero().flatten()
            kept = within[nms(boxes[within], score[within], readout.iou)]
            parts.append(Found(boxes[kept], score[kept], torch.full_like(kept, label)))
        joined = [torch.cat(columns) for columns in zip(*parts, strict=True)]
        order = joined[1].argsort(descending=True, stable=True)[: readout.limit]
        found.append(Found(*(column[order] for column in joined)))
    return found


def expect_same(found: list[Found], expected: list[Found]) -> None:
    assert [len(one.scores) for one in found] == [len(one.scores) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.scores, other.scores)
        rows, others = (sorted(map(tuple, torch.cat((f.boxes, f.classes[:, None]), 1).tolist())) for f in (one, other))
        assert rows == others  # of equal scores any may come first


@pytest.mark.parametrize("classes", [1, 6, 80])
@pytest.mark.parametrize("readout", [MEASURE._replace(limit=10_000), Readout(confidence=0.3, iou=0.5, limit=10_000)])
@pytest.mark.parametrize("at_once", [0, 300, 10**6])
def test_a_batch_is_its_pictures_and_classes_one_by_one(
    classes: int, readout: Readout, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if at_once:  # as on a GPU, several pictures are compared together
        parts = suppression._parts
        monkeypatch.setattr(suppression, "_parts", lambda counts, _: parts(counts, at_once))
    raw = outputs(classes, classes=classes, cells=400 if classes < 80 else 60)
    expect_same(read_dense(raw, readout), one_by_one(raw, readout))


@pytest.mark.parametrize("readout", [MEASURE, MEASURE._replace(limit=20), Readout()])
def test_few_classes_are_suppressed_as_ultralytics_does(readout: Readout) -> None:
    """Of many classes it rounds the boxes: it moves them thousands of pixels apart in single precision."""
    raw = outputs(0, classes=6)
    rows = non_max_suppression(
        raw.clone(), readout.confidence, readout.iou, multi_label=readout.multi_label, max_det=readout.limit, nc=6
    )
    for found, theirs in zip(read_dense(raw, readout), rows, strict=True):
        assert torch.equal(torch.cat((found.boxes, found.scores[:, None], found.classes[:, None]), 1), theirs)


def test_only_the_best_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression, "CANDIDATES", 50)
    raw = outputs(0, classes=3)
    few = read_dense(raw, MEASURE._replace(limit=1, iou=1.0))[0]  # 13 to the one that is asked for: fewer than 50
    assert len(few.scores) == 1
    every = read_dense(raw, MEASURE._replace(limit=3, iou=1.0))[0]
    best = raw[0, 4:].flatten().sort(descending=True).values[:3]
    assert torch.equal(every.scores, best)


def test_boxes_without_bounds_suppress_nothing_elsewhere() -> None:
    """Heads without a distribution may say anything of a box before they have learned."""
    raw = outputs(0, classes=2)
    expected = read_dense(raw, MEASURE)
    wild = raw.clone()
    wild[0, 2:4, :7] = torch.tensor([1e9, math.inf, 1e30, 1e9, 5e8, math.inf, 1e9])
    expect_same(read_dense(wild, MEASURE)[1:], expected[1:])


def test_nothing_found_is_an_empty_list() -> None:
    assert [len(found.scores) for found in read_dense(torch.zeros(3, 6, 10), Readout())] == [0, 0, 0]
