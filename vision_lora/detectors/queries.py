"""Detectors that answer with a set of queries: no anchors, no non-maximum suppression."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vision_lora.detectors.readout import Found, Readout


def read_queries(boxes: Tensor, scores: Tensor, side: int, readout: Readout) -> list[Found]:
    """Detections from the boxes and class scores of queries (Carion et al. 2020, DETR, section 3).

    Args:
        boxes: centre, width and height by the side of the square, (B, Q, 4).
        scores: of each class, 0 to 1, (B, Q, classes).
        side: of the square pictures, pixels.
        readout: thresholds; queries do not overlap by training, so `iou` has no effect.

    Returns:
        One `Found` a picture on the CPU, best first.

    Examples:
        >>> boxes, scores = torch.tensor([[[0.5, 0.5, 0.2, 0.4]]]), torch.tensor([[[0.6, 0.3]]])
        >>> read_queries(boxes, scores, 100, Readout())[0].boxes.round()
        tensor([[40., 30., 60., 70.]])
    """
    boxes, scores = boxes.float(), scores.float()
    half = boxes[..., 2:] / 2
    corners = torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), -1).clamp(0, 1) * side
    classes = scores.shape[-1]
    if not readout.multi_label:
        best = scores.argmax(-1, keepdim=True)
        scores = torch.zeros_like(scores).scatter(-1, best, scores.gather(-1, best))
    values, indices = scores.flatten(1).topk(min(readout.limit, scores[0].numel()))
    chosen = corners.gather(1, (indices // classes)[..., None].expand(-1, -1, 4))
    # A device is asked once a batch, not some times a picture.
    columns = chosen.cpu(), values.cpu(), (indices % classes).cpu()
    return [
        Found(*(column[value > readout.confidence] for column in (picture, value, label)))
        for picture, value, label in zip(*columns, strict=True)
    ]


def initialise_scores(weight: Tensor, bias: Tensor | None, layer: nn.Module, *, focal: bool) -> None:
    """Start the rows of new classes in a layer that scores queries, or that embeds their classes for denoising.

    Args:
        weight: (classes, columns), filled in place.
        bias: (classes,), filled in place; None in an embedding.
        layer: the base's own layer.
        focal: whether each class is scored by itself. Then none is likely at first, at a chance of 0.01 (Lin et al.
            2017, RetinaNet, section 4.1); where classes compete with no object, that one is.
    """
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(weight, std=float(layer.weight.std()))  # as long as those that the network knows
        return
    nn.init.normal_(weight, std=0.01)
    if bias is not None:
        bias.fill_(-math.log(99) if focal else 0.0)
