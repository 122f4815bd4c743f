"""Non-maximum suppression of whole batches: a GPU is asked a few times a batch, instead of some 25 times a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert, nms

from vision_lora.detectors.readout import Found, Readout

# Boxes of a picture that enter, best first. The time grows with their square, and an untrained head scores every cell
# above the threshold of an mAP measurement; 300 are kept in the end. The more are asked for, the more enter: there are
# several to a box.
CANDIDATES = 4096
PER_BOX = 13
# Boxes that a GPU compares with each other at a time. A CPU takes each picture by itself: starting costs it nothing.
AT_ONCE = 16384
APART = 2.0**22  # pixels between boxes of two classes or pictures, which so never meet; exact in double precision


def read_dense(outputs: Tensor, readout: Readout) -> list[Found]:
    """Detections from the boxes and scores of all cells, each class and each picture suppressed by itself.

    Args:
        outputs: centre x, y, width and height in pixels, then a score of each class, (B, 4 + classes, cells).
        readout: thresholds.

    Returns:
        One `Found` a picture on the CPU, best first.

    Examples:
        >>> boxes = torch.tensor([[50.0, 50, 20, 20], [51, 50, 20, 20], [20, 20, 9, 9]])
        >>> outputs = torch.cat((boxes, torch.tensor([[0.6], [0.9], [0.3]])), 1).T[None]
        >>> read_dense(outputs, Readout())[0].scores.tolist()  # the first is the second's, more weakly
        [0.8999999761581421, 0.30000001192092896]
    """
    outputs = outputs if outputs.device.type == "cuda" else outputs.cpu()
    pictures, rows, scores, classes = _candidates(outputs.float(), readout)
    counts = torch.bincount(pictures, minlength=len(outputs)).tolist()
    places = box_convert(rows.double().clamp(-APART / 4, APART / 4), "cxcywh", "xyxy")
    places += ((pictures * (outputs.shape[1] - 4) + classes) * APART)[:, None]
    kept = [
        part.start + nms(places[part], scores[part].double(), readout.iou).sort().values  # by picture, and best first
        for part in _parts(counts, AT_ONCE if outputs.device.type == "cuda" else 0)
    ]
    every = torch.cat([pictures.new_zeros(0), *kept])
    boxes = box_convert(rows[every], "cxcywh", "xyxy").cpu()
    found = pictures[every].cpu(), scores[every].cpu(), classes[every].cpu()
    sizes = torch.bincount(found[0], minlength=len(outputs)).tolist()
    columns = [column.split(sizes) for column in (boxes, *found[1:])]
    return [Found(*(values[: readout.limit] for values in picture)) for picture in zip(*columns, strict=True)]


def _candidates(outputs: Tensor, readout: Readout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What counts, by picture and then best first: pictures (n,), boxes (n, 4), scores (n,), classes (n,)."""
    boxes, scores = outputs[:, :4].transpose(1, 2), outputs[:, 4:].transpose(1, 2)
    if readout.multi_label:
        pictures, cells, classes = (scores > readout.confidence).nonzero(as_tuple=True)
        scores = scores[pictures, cells, classes]
    else:
        best, kind = scores.max(-1)
        pictures, cells = (best > readout.confidence).nonzero(as_tuple=True)
        scores, classes = best[pictures, cells], kind[pictures, cells]
    order = scores.argsort(descending=True, stable=True)
    order = order[pictures[order].argsort(stable=True)]
    counts = torch.bincount(pictures, minlength=len(outputs))
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[pictures[order]]
    order = order[rank < max(CANDIDATES, PER_BOX * readout.limit)]
    return pictures[order], boxes[pictures[order], cells[order]], scores[order], classes[order]


def _parts(counts: Sequence[int], most: int) -> Iterator[slice]:
    """Slices of whole pictures with boxes, as many pictures in one as have `most` boxes together; at least one.

    Examples:
        >>> [(part.start, part.stop) for part in _parts([3, 0, 4, 9, 1], 8)]
        [(0, 7), (7, 16), (16, 17)]
    """
    start = stop = 0
    for count in counts:
        if stop > start and stop + count - start > most:
            yield slice(start, stop)
            start = stop
        stop += count
    if stop > start:
        yield slice(start, stop)
