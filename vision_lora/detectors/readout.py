"""Postprocessing: how raw outputs become detections, and those of several passes one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vision_lora.pictures.detections import CONFIDENCE, Detections


class Readout(NamedTuple):
    """Options of postprocessing: how raw outputs become detections.

    Attributes:
        confidence: lowest score that counts, 0 to 1.
        iou: overlap above which the weaker of two boxes of a class goes (no effect on NMS-free detectors).
        limit: most detections of one picture and pass.
        multi_label: whether a box may carry several classes, as mAP is measured.
        thresholds: lowest score that counts for single classes of the adapter, by name.
    """

    confidence: float = CONFIDENCE
    iou: float = 0.7
    limit: int = 300
    multi_label: bool = False
    thresholds: Mapping[str, float] = MappingProxyType({})

    @property
    def lowest(self) -> Readout:
        """The same down to the lowest score that counts for any class."""
        return self._replace(confidence=min(self.confidence, *self.thresholds.values(), 1.0))


MEASURE = Readout(confidence=0.001, multi_label=True)


class Found(NamedTuple):
    """Detections of one pass in one letterboxed picture, best first.

    Attributes:
        boxes: corners x1, y1, x2, y2 in pixels, (n, 4).
        scores: (n,).
        classes: index among the pass's own classes, (n,) int64.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def join(
    passes: Sequence[tuple[Found, int]], names: tuple[str, ...], general: int, limit: int = Readout().limit
) -> Detections:
    """Detections of several passes in one picture, best first.

    Args:
        passes: what each found, and where its classes begin in the joint vocabulary.
        names: the joint vocabulary.
        general: how many of its names, in front, are the base's own.
        limit: most detections of one pass, as they were read.

    Examples:
        >>> found = Found(torch.zeros(1, 4), torch.tensor([0.5]), torch.tensor([0]))
        >>> joined = join([(found, 0), (found._replace(scores=torch.tensor([0.9])), 1)], ("person", "dent"), 1)
        >>> [joined.name(index) for index in range(len(joined))]
        ['dent', 'person']
    """
    boxes = torch.cat([found.boxes for found, _ in passes]).cpu()
    scores = torch.cat([found.scores for found, _ in passes]).cpu()
    classes = torch.cat([found.classes + offset for found, offset in passes]).cpu()
    order = scores.argsort(descending=True, stable=True)
    return Detections(
        boxes[order].numpy().astype(np.float32),
        scores[order].numpy().astype(np.float32),
        classes[order].numpy().astype(np.int64),
        names,
        general,
        at_limit=any(len(found.scores) >= limit for found, _ in passes),
    )
