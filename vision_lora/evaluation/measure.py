"""Run a detector over a split and score it."""

from __future__ import annotations

from collections.abc import Sequence

from vision_lora.datasets.loader import Batches
from vision_lora.datasets.sample import Sample
from vision_lora.detections import Detections
from vision_lora.detectors.base import MEASURE, Detector, Mode, Readout
from vision_lora.errors import DataError
from vision_lora.evaluation.coco_map import MapResult, coco_map


def detect_all(
    detector: Detector, batches: Batches, samples: Sequence[Sample], *, mode: Mode, readout: Readout = MEASURE
) -> list[Detections]:
    """Detections in every sample, in pixels of the original pictures.

    Args:
        detector: the detector, with its active adapter.
        batches: `eval_loader(samples, ...)`.
        samples: the pictures.
        mode: which passes run.
        readout: thresholds; by default those of an mAP measurement.
    """
    found: list[Detections] = []
    for batch in batches:
        in_squares = detector.detect(batch.images.to(detector.device), mode=mode, readout=readout)
        for detections, index, scale, pad in zip(in_squares, batch.indices, batch.scales, batch.pads, strict=True):
            sample = samples[int(index)]
            found.append(
                detections.from_letterbox(float(scale), (float(pad[0]), float(pad[1])), (sample.width, sample.height))
            )
    return found


def measure(
    detector: Detector, batches: Batches, samples: Sequence[Sample], names: Sequence[str], *, mode: Mode
) -> tuple[MapResult, list[Detections]]:
    """Mean average precision of one mode on a split, and the detections it was computed from.

    Raises:
        DataError: the detector knows none of the dataset's classes in this mode.
    """
    learned = detector.adapter.card.names if detector.adapter else ()
    known = {"general": detector.names, "defects": learned, "both": (*detector.names, *learned)}[mode]
    if not set(names) & set(known):
        raise DataError(
            f"none of the dataset's classes ({_some(names)}) is among those that the detector knows ({_some(known)}): "
            "give the adapter that was trained for them, or the right dataset"
        )
    found = detect_all(detector, batches, samples, mode=mode)
    return coco_map(found, samples, names), found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
