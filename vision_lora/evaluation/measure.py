"""Run a detector over a split and score it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vision_lora.datasets.batches.loader import Batches, eval_loader
from vision_lora.datasets.sample import Sample
from vision_lora.datasets.tiles import cut_tiles, join_detections
from vision_lora.detectors.base import Detector
from vision_lora.detectors.readout import MEASURE
from vision_lora.errors import DataError
from vision_lora.evaluation.coco_map import MapResult, coco_map
from vision_lora.evaluation.matches import map_of
from vision_lora.pictures.detections import Detections, Mode
from vision_lora.text.names import told

log = logging.getLogger(__name__)

# A GPU measures so many pictures together for each of a training step, as nothing is kept for a way back, up to where
# it is busy anyway.
MORE, BUSY = 4, 64


def detect_all(detector: Detector, batches: Batches, samples: Sequence[Sample], *, mode: Mode) -> list[Detections]:
    """Detections in every sample down to the lowest scores, in pixels of the original pictures.

    Args:
        detector: the detector, with its active adapter.
        batches: `eval_loader(samples, ...)`.
        samples: the pictures.
        mode: which passes run.
    """
    found: list[Detections] = []
    for batch in batches:
        in_squares = _detected(detector, batch.images, mode)
        for detections, index, scale, pad in zip(in_squares, batch.indices, batch.scales, batch.pads, strict=True):
            sample = samples[int(index)]
            found.append(
                detections.from_letterbox(float(scale), (float(pad[0]), float(pad[1])), (sample.width, sample.height))
            )
    return found


def at_once(step: int, device: torch.device) -> int:
    """Pictures to measure together, where so many are in a training step on the device.

    Examples:
        >>> at_once(16, torch.device("cuda")), at_once(128, torch.device("cuda")), at_once(16, torch.device("cpu"))
        (64, 128, 16)
    """
    return max(step, min(MORE * step, BUSY)) if device.type == "cuda" else step


def _detected(detector: Detector, images: Tensor, mode: Mode) -> list[Detections]:
    """Detections in a batch, in halves of it where a GPU has no memory for the whole."""
    try:
        return detector.detect(images.to(detector.device), mode=mode, readout=MEASURE)
    except torch.cuda.OutOfMemoryError:
        if len(images) == 1:
            raise
    # Outside of the handler, which holds what the pass had made.
    halves = images.split(-(-len(images) // 2))
    return [found for half in halves for found in _detected(detector, half, mode)]


def measure(
    detector: Detector, batches: Batches, samples: Sequence[Sample], names: Sequence[str], *, mode: Mode
) -> tuple[MapResult, list[Detections]]:
    """Mean average precision of one mode on a split, and the detections it was computed from.

    Raises:
        DataError: the detector knows none of the dataset's classes in this mode.
    """
    demand_known(known_classes(detector, mode), names, samples)
    found = detect_all(detector, batches, samples, mode=mode)
    return coco_map(found, samples, names), found


def measure_map(
    detector: Detector, batches: Batches, samples: Sequence[Sample], names: Sequence[str], *, mode: Mode
) -> tuple[float, float]:
    """The map50_95 and map50 of `measure` and nothing else, for after each epoch: without pycocotools' second or more.

    Raises:
        DataError: the detector knows none of the dataset's classes in this mode.
    """
    demand_known(known_classes(detector, mode), names, samples)
    return map_of(detect_all(detector, batches, samples, mode=mode), samples, names)


def measure_tiled(
    detector: Detector,
    samples: Sequence[Sample],
    names: Sequence[str],
    *,
    imgsz: int,
    batch: int,
    tile: int,
    overlap: float,
    mode: Mode,
) -> tuple[MapResult, list[Detections]]:
    """As `measure`, with each picture cut into tiles and what they show joined again.

    Args:
        detector: the detector, with its active adapter.
        samples: whole pictures.
        names: the dataset's classes.
        imgsz: side of the square that each tile is fitted into, pixels.
        batch: tiles at once.
        tile: side of a tile, pixels.
        overlap: least share of a tile that its neighbour shows too.
        mode: which passes run.
    """
    demand_known(known_classes(detector, mode), names, samples)
    cut = [cut_tiles([sample], tile, overlap) for sample in samples]
    flat = [one for tiles in cut for one in tiles]
    parts = iter(detect_all(detector, eval_loader(flat, imgsz, batch), flat, mode=mode))
    found = [
        join_detections([(one.window, next(parts)) for one in tiles], sample.width, sample.height)
        for sample, tiles in zip(samples, cut, strict=True)
    ]
    return coco_map(found, samples, names), found


def known_classes(detector: Detector, mode: Mode) -> tuple[str, ...]:
    """The classes that a detector speaks of in a mode."""
    learned = detector.adapter.card.names if detector.adapter else ()
    return {"general": detector.names, "defects": learned, "both": (*detector.names, *learned)}[mode]


def demand_known(known: Sequence[str], names: Sequence[str], samples: Sequence[Sample]) -> None:
    """Before the work: can these pictures say anything of a detector, and which of their classes does it not know?

    A class that it does not know counts as one of which nothing is found. That is told, with the name that was
    probably meant: classes are matched by name, and `Scratch` is not `scratch`.

    Args:
        known: the detector's classes.
        names: the dataset's classes.
        samples: the pictures that are to be measured.

    Raises:
        DataError: the detector knows none of the classes, or none of those that these pictures have boxes of.
    """
    present = {int(index) for sample in samples for index in np.unique(sample.classes)}
    shown = [name for index, name in enumerate(names) if index in present] or list(names)
    unknown = [name for name in shown if name not in known]
    if len(unknown) == len(shown):
        raise DataError(
            f"none of the dataset's classes ({told(unknown, known)}) is among those that the detector knows "
            f"({_some(known)}): give the adapter that was trained for them, or the right dataset"
        )
    if unknown:
        log.warning(
            "the detector does not know %s: counted as 0 in the mean; it knows %s: name the class so in the data, or "
            "leave it out",
            told(unknown, known),
            _some(known),
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
