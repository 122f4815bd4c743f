"""Every family has features: some of each picture, which do not depend on what else is in the batch."""

from __future__ import annotations

import pytest
import torch

from tests.detectors.build import make, pictures
from vision_lora.evaluation.proposal.features import neck_features

# With a neck of convolutions, of tokens, in windows of the picture, and without any.
KEYS = ("yolo12n.yaml", "rtdetr", "hf:detr", "hf:deformable_detr", "hf:rf_detr", "hf:yolos")
KEYS += ("torchvision:faster_rcnn", "torchvision:ssdlite")


@pytest.mark.parametrize("key", KEYS)
def test_of_each_picture_by_itself(key: str) -> None:
    detector = make(key)
    images, _ = pictures(3)
    hooks = [len(layer._forward_hooks) for layer in detector.network.modules()]
    together = neck_features(detector, images)
    assert together.shape[0] == 3
    assert together.isfinite().all()
    assert together.std(0).max() > 1e-3
    alone = torch.cat([neck_features(detector, image[None]) for image in images])
    assert alone.shape == together.shape
    assert torch.allclose(alone, together, rtol=1e-3, atol=1e-3 * float(together.abs().max()))
    assert [len(layer._forward_hooks) for layer in detector.network.modules()] == hooks
