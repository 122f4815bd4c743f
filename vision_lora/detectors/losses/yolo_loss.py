"""Ultralytics' detection loss with every shape fixed: nothing in it waits for a GPU, so that a CUDA graph can hold it.

Ultralytics' own (`v8DetectionLoss`) picks pairs of box and cell by index, as many as there happen to be, and the host
has to wait for their number. Here each picture has room for equally many boxes, all pairs are looked at, and the cells
that got a box are gathered, as many as could get one. On a CPU the dense form is slower, so theirs stays in use there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.ops import xywh2xyxy, xyxy2xywh
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors


class FixedLoss:
    """The losses of `criterion`, one branch or two, of boxes with room.

    Args:
        criterion: Ultralytics' loss, whose gains, assigner and schedule count.
    """

    def __init__(self, criterion: v8DetectionLoss | E2ELoss) -> None:
        branches = (criterion.one2many, criterion.one2one) if isinstance(criterion, E2ELoss) else (criterion,)
        self._branches = [_Branch(branch) for branch in branches]
        self.names = [name.removesuffix("_loss") for name in branches[-1].loss_names]
        # A tensor, as a graph would keep the numbers of the epoch in which it was captured.
        self._shares = torch.ones(len(branches), 1, device=branches[0].device)

    def schedule(self, criterion: v8DetectionLoss | E2ELoss) -> None:
        """Take over how much each branch counts in the epoch to come."""
        if isinstance(criterion, E2ELoss):
            self._shares.copy_(torch.tensor([[criterion.o2m], [criterion.o2o]]))

    def __call__(self, outputs: Any, boxes: Tensor) -> Tensor:
        """Box, class and distribution (or distance) loss, means over the pictures, (3,).

        Args:
            outputs: of the head in training, in fp32: `boxes` (B, 4·bins, A), `scores` (B, classes, A), `feats`; or
                two such branches.
            boxes: (B, N, 5): class, x1, y1, x2, y2 in pixels; zeros where there is none.
        """
        parts = [outputs[name] for name in ("one2many", "one2one")] if "one2many" in outputs else [outputs]
        losses = [branch(part, boxes) for branch, part in zip(self._branches, parts, strict=True)]
        return (torch.stack(losses) * self._shares).sum(0)


class _Branch:
    def __init__(self, criterion: v8DetectionLoss) -> None:
        theirs = criterion.assigner
        self.criterion = criterion
        self.assigner = _DenseAssigner(
            theirs.topk, theirs.num_classes, theirs.alpha, theirs.beta, theirs.stride, theirs.eps, theirs.topk2
        )
        self._grids: dict[tuple[torch.Size, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, outputs: dict[str, Any], boxes: Tensor) -> Tensor:
        criterion = self.criterion
        points, strides = self._grid(outputs["feats"])  # (A, 2) in cells, (A, 1) in pixels
        edges, scores = outputs["boxes"], outputs["scores"]
        with torch.no_grad():
            decoded = self._decode(points, edges.permute(0, 2, 1))  # (B, A, 4) in cells
            labels, corners = boxes[..., :1], boxes[..., 1:]
            there = (corners.sum(2, keepdim=True) > 0).to(corners.dtype)
            _, wanted, expected, chosen, _ = self.assigner.assign(
                scores.permute(0, 2, 1).sigmoid(), decoded * strides, points * strides, labels, corners, there
            )
            total = expected.sum().clamp_min(1)
            # As many cells as can get a box; those that did come first, the others weigh nothing.
            most = min(len(points), boxes.shape[1] * self.assigner.topk)
            weight, cells = torch.topk(expected.sum(-1) * chosen, most, dim=1)  # (B, K)
            chosen = chosen.gather(1, cells)[..., None]
        edges = edges.gather(2, cells[:, None].expand(-1, edges.shape[1], -1)).permute(0, 2, 1)  # (B, K, 4·bins)
        points, strides = points[cells], strides[cells]
        mine = self._decode(points, edges)
        theirs = wanted.gather(1, cells[..., None].expand(-1, -1, 4)) / strides
        theirs = torch.where(chosen, theirs, mine.detach())  # a box without area has no finite gradient
        overlap = bbox_iou(mine, theirs, xywh=False, CIoU=True)[..., 0]
        box = ((1 - overlap) * weight).sum() / total
        fine = (self._fineness(edges, theirs, points, strides, outputs["feats"][0].shape) * weight).sum() / total
        cls = F.binary_cross_entropy_with_logits(scores, expected.permute(0, 2, 1), reduction="sum") / total
        gains: Any = criterion.hyp
        return torch.stack((box * gains.box, cls * gains.cls, fine * gains.dfl))

    def _grid(self, feats: list[Tensor]) -> tuple[Tensor, Tensor]:
        shapes = tuple(feature.shape[2:] for feature in feats)
        if shapes not in self._grids:
            self._grids[shapes] = make_anchors(feats, self.criterion.stride, 0.5)
        return self._grids[shapes]

    def _decode(self, points: Tensor, edges: Tensor) -> Tensor:
        """Edges, (B, A, 4·bins), as corners in cells, (B, A, 4)."""
        if self.criterion.use_dfl:
            edges = edges.unflatten(2, (4, -1)).softmax(3) @ self.criterion.proj
        corners: Tensor = dist2bbox(edges, points, xywh=False)
        return corners

    def _fineness(self, edges: Tensor, corners: Tensor, points: Tensor, strides: Tensor, level: torch.Size) -> Tensor:
        """Distribution focal loss (Li et al. 2020, eq. 6), or the distance itself where edges have no bins, (B, K)."""
        criterion = self.criterion
        if not criterion.use_dfl:
            side = level[-1] * float(criterion.assigner.stride[0])  # square pictures
            distance: Tensor = (edges - bbox2dist(points, corners)) * strides / side
            return distance.abs().mean(-1)
        last = criterion.reg_max - 1
        target = bbox2dist(points, corners, last).clamp(0, last - 0.01)
        left = target.long()
        right = left + 1 - target  # weight of the left bin
        chances = edges.unflatten(2, (4, -1)).log_softmax(3)  # (B, K, 4, bins)
        below, above = (chances.gather(3, bins[..., None])[..., 0] for bins in (left, left + 1))
        loss: Tensor = -(below * right + above * (1 - right)).mean(-1)
        return loss


class _DenseAssigner(TaskAlignedAssigner):
    """Ultralytics' task-aligned assigner (Feng et al. 2021, TOOD) over all pairs of box and cell."""

    def assign(self, *args: Tensor) -> tuple[Tensor, ...]:
        """As `forward`, but what does not fit into memory is told by PyTorch: a graph cannot try again."""
        self.bs, self.n_max_boxes = args[0].shape[0], args[4].shape[1]
        assigned: tuple[Tensor, ...] = self._forward(*args)  # type: ignore[no-untyped-call]
        return assigned

    def get_box_metrics(  # type: ignore[override]  # nothing further is passed
        self, pd_scores: Tensor, pd_bboxes: Tensor, gt_labels: Tensor, gt_bboxes: Tensor, mask_gt: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Alignment and overlap of each box with each cell, both (B, N, A), zero where `mask_gt` is."""
        labels = gt_labels.long().expand(-1, -1, pd_scores.shape[1])
        scores = pd_scores.transpose(1, 2).gather(1, labels)
        overlaps = bbox_iou(gt_bboxes[:, :, None], pd_bboxes[:, None], xywh=False, CIoU=True)[..., 0]
        overlaps = torch.where(mask_gt.bool(), overlaps.clamp(min=0), 0.0)
        return scores.pow(self.alpha) * overlaps.pow(self.beta), overlaps

    def select_candidates_in_gts(
        self, xy_centers: Tensor, gt_bboxes: Tensor, mask_gt: Tensor, eps: float = 1e-9
    ) -> Tensor:
        """Cells inside each box, (B, N, A); a box smaller than the second level's stride counts as large as that."""
        boxes = xyxy2xywh(gt_bboxes)
        small = (boxes[..., 2:] < self.stride_val) & mask_gt.bool()
        boxes[..., 2:] = boxes[..., 2:].masked_fill(small, float(self.stride_val))
        first, last = xywh2xyxy(boxes)[:, :, None].chunk(2, 3)  # (B, N, 1, 2)
        inside: Tensor = ((xy_centers - first > eps) & (last - xy_centers > eps)).all(3)
        return inside
