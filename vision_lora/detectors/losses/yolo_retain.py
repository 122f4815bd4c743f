"""How far one pass of a YOLO is from another: what self-distillation makes small.

Raw outputs are what Ultralytics' `Detect` gives in training: `boxes` (B, 4·bins, A), `scores` (B, classes, A) and
`feats`, the head's inputs, (B, C, H, W) a level; NMS-free heads give two such branches. A counts all levels' cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vision_lora.detectors.losses.share import part, summed


def class_distance(student: Any, teacher: Any) -> Tensor:
    """Divergence of the teacher's classes, (): binary cross-entropy above its minimum, as in a detection loss.

    Summed over cells and classes, and divided by the objects that the teacher sees, so that it is of the size of the
    task's own class loss.
    """
    return _mean([_class_distance(one, other) for one, other in _branches(student, teacher)])


def box_distance(student: Any, teacher: Any) -> Tensor:
    """Divergence of the box edges, (), weighted with the teacher's confidence in each cell.

    Kullback-Leibler over the bins of an edge (Zheng et al. 2022, Localization Distillation, eq. 3), or the distance
    itself in networks without bins.
    """
    return _mean([_box_distance(one, other) for one, other in _branches(student, teacher)])


def feature_distance(student: Any, teacher: Any) -> Tensor:
    """Squared change of the head's inputs relative to their variance, mean over the levels, ()."""
    one, other = _branches(student, teacher)[0]
    return _mean(
        [_change(mine.float(), theirs.float()) for mine, theirs in zip(one["feats"], other["feats"], strict=True)]
    )


def _change(mine: Tensor, theirs: Tensor) -> Tensor:
    """Mean square of the change by the variance, over the cells of all processes' pictures."""
    cells = theirs.new_tensor(theirs.numel())
    total = summed(cells)
    mean = summed(theirs.sum()) / total
    variance = summed((theirs - mean).square().sum()) / (total - 1)
    return (mine - theirs).square().mean() * part(cells, total) / variance.clamp_min(1e-6)


def _class_distance(student: dict[str, Any], teacher: dict[str, Any]) -> Tensor:
    theirs = teacher["scores"].float()  # (B, old, A)
    expected = theirs.sigmoid()
    mine = student["scores"][:, : theirs.shape[1]].float()
    # Subtracted cell by cell: the sums are large and their difference is small.
    excess = F.binary_cross_entropy_with_logits(mine, expected, reduction="none") - F.binary_cross_entropy_with_logits(
        theirs, expected, reduction="none"
    )
    return _by_objects(excess.sum(), expected)


def _box_distance(student: dict[str, Any], teacher: dict[str, Any]) -> Tensor:
    expected = teacher["scores"].float().sigmoid()
    weight = expected.amax(1)  # (B, A)
    mine, theirs = student["boxes"].float(), teacher["boxes"].float()
    if mine.shape[1] == 4:
        difference = (mine - theirs).abs().mean(1)
    else:
        bins = (len(mine), 4, -1, mine.shape[-1])  # (B, 4, bins, A)
        mine, theirs = mine.view(bins).log_softmax(2), theirs.view(bins).log_softmax(2)
        difference = F.kl_div(mine, theirs, reduction="none", log_target=True).sum(2).mean(1)
    return _by_objects((difference * weight).sum(), expected)


def _by_objects(distance: Tensor, scores: Tensor) -> Tensor:
    """A sum of distances by about how many cells the teacher gives to an object, at least one a picture."""
    cells, pictures = summed(torch.stack((scores.amax(1).sum(), scores.new_tensor(len(scores)))))
    return distance * part(1.0, torch.maximum(cells, pictures))


def _branches(student: Any, teacher: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if "one2many" in teacher:
        return [(student[name], teacher[name]) for name in ("one2many", "one2one")]
    return [(student, teacher)]


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
