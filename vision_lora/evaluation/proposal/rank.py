"""From unlabelled pictures to those to label next, with what the detector finds in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vision_lora.datasets.batches.batch import Batch
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.sample import Sample
from vision_lora.detectors.base import Detector
from vision_lora.detectors.readout import MEASURE
from vision_lora.evaluation.measure import detect_all
from vision_lora.evaluation.proposal.choose import choose
from vision_lora.evaluation.proposal.copies import near_copy
from vision_lora.evaluation.proposal.features import neck_features
from vision_lora.evaluation.scoring.uncertainty import picture_uncertainty
from vision_lora.pictures.boxes import areas
from vision_lora.pictures.detections import CONFIDENCE, Detections

# Of a box its best class alone counts, as in use; scores below the thresholds say how unsure the detector is.
READOUT = MEASURE._replace(multi_label=False)


class Proposal(NamedTuple):
    """A picture to label.

    Attributes:
        sample: the picture, with the detections that reach their thresholds as its boxes.
        scores: of these, 0 to 1, (n,).
        uncertainty: of the picture, 0 to 1, see `picture_uncertainty`.
        distance: from what is labelled and what was chosen before it, see `choose`.
    """

    sample: Sample
    scores: list[float]
    uncertainty: float
    distance: float


class Ranked(NamedTuple):
    """What was chosen.

    Attributes:
        proposals: in their order.
        copies: how many pictures were passed over as near-copies of what is labelled or chosen already.
    """

    proposals: list[Proposal]
    copies: int


def rank(
    detector: Detector, pool: Sequence[Sample], labelled: Sequence[Sample], *, count: int, imgsz: int, batch: int
) -> Ranked:
    """Choose the pictures to label next, see `choose`.

    Args:
        detector: with its active adapter.
        pool: pictures without labels.
        labelled: those that the adapter has learned from.
        count: how many to choose.
        imgsz: side of the square that a picture is fitted into, pixels.
        batch: pictures at once.

    Raises:
        DataError: a picture cannot be decoded.
    """
    adapter = detector.adapter
    assert adapter is not None, "what is proposed is to teach an adapter"
    thresholds = dict(adapter.card.thresholds)
    seen: list[Tensor] = []

    def watched(samples: Sequence[Sample]) -> Iterator[Batch]:
        for images in eval_loader(samples, imgsz, batch):
            seen.append(neck_features(detector, images.images))
            yield images

    for _ in watched(labelled):
        pass
    known = torch.cat(seen)
    seen.clear()
    found = detect_all(detector, watched(pool), pool, mode="defects", readout=READOUT)
    doubts = [picture_uncertainty(one, thresholds) for one in found]
    pictures = [*labelled, *pool]

    def same(index: int, center: int) -> bool:
        return near_copy(pool[index].path, pictures[center].path, imgsz)

    chosen, copies = choose(torch.cat(seen), known, torch.tensor(doubts), count, same)
    return Ranked([_proposal(pool[at], found[at], thresholds, doubts[at], distance) for at, distance in chosen], copies)


def _proposal(
    sample: Sample, found: Detections, thresholds: dict[str, float], doubt: float, distance: float
) -> Proposal:
    counts = found.above(CONFIDENCE, thresholds)
    wide = ((counts.boxes[:, 2:] - counts.boxes[:, :2]) >= 1).all(1)  # nobody could correct a box of no pixel
    boxes, classes = counts.boxes[wide], counts.classes[wide] - counts.general
    sample = replace(sample, boxes=boxes, classes=classes, areas=areas(boxes).astype(np.float64))
    return Proposal(sample, [round(float(score), 4) for score in counts.scores[wide]], doubt, distance)
