"""The loss with every shape fixed: Ultralytics' numbers and gradients, without their waits."""

from __future__ import annotations

import pytest
import torch

from tests.detectors.build import CLASSES, SIZE, make, pictures
from vision_lora.datasets.batches.batch import Batch
from vision_lora.detectors.yolo import YoloDetector


def with_room(targets: torch.Tensor, pictures: int) -> torch.Tensor:
    nothing = torch.zeros(pictures)
    return Batch(torch.zeros(pictures, 3, 8, 8), targets, nothing, nothing, nothing).with_room().targets


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov10n.yaml", "yolo11n.yaml", "yolo26n.yaml", "yolov8n-p6.yaml"])
@pytest.mark.parametrize("boxes", ["many", "few", "none", "tiny"])
def test_losses_and_gradients_are_ultralytics_own(name: str, boxes: str) -> None:
    detector = make(name)
    assert isinstance(detector, YoloDetector)
    images, targets = pictures(3)
    targets = targets[: {"many": len(targets), "few": 2, "none": 0, "tiny": 5}[boxes]]
    if boxes == "tiny":
        targets[:, 4:] = targets[:, 2:4] + 3
    detector.begin_epoch(2, 5)
    with torch.no_grad():
        raw = detector._raw(detector.prepare(images))
    branches = [raw["one2many"], raw["one2one"]] if "one2many" in raw else [raw]
    leaves = [branch[key].requires_grad_() for branch in branches for key in ("boxes", "scores")]

    def losses_and_gradients(given: torch.Tensor) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
        losses = detector._task_losses(raw, given, SIZE)
        return losses, torch.autograd.grad(torch.stack(list(losses.values())).sum(), leaves)

    theirs, expected = losses_and_gradients(targets)
    ours, found = losses_and_gradients(with_room(targets, len(images)))
    assert list(ours) == list(theirs)
    for key in theirs:
        assert ours[key].item() == pytest.approx(theirs[key].item(), rel=1e-5, abs=1e-7), key
    for mine, other in zip(found, expected, strict=True):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-7)


def test_the_schedule_of_two_branches_is_followed_in_place() -> None:
    detector = make("yolo26n.yaml")
    assert isinstance(detector, YoloDetector)
    images, targets = pictures(2)
    boxes = with_room(targets, 2)
    detector.begin_epoch(0, 4)
    detector.losses(images, boxes)
    fixed = detector._fixed
    assert fixed is not None
    kept = fixed._shares
    detector.begin_epoch(3, 4)
    assert detector._fixed is fixed
    assert fixed._shares is kept  # a captured graph reads this very tensor
    criterion = detector.criterion(CLASSES)
    assert kept.flatten().tolist() == pytest.approx([criterion.o2m, criterion.o2o])
