"""What a run gives: its best file as it will be used, half as large where that changes no score."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter
from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_base
from vision_lora.evaluation.coco_map import MapResult
from vision_lora.evaluation.measure import measure
from vision_lora.pictures.detections import Detections
from vision_lora.training.job import Job

log = logging.getLogger(__name__)

NOTHING = 0.001  # a change of mAP on val up to which rounding an adapter's numbers counts as none


@dataclass(frozen=True)
class Outcome:
    """A run's result, measured.

    Attributes:
        result: on val.
        found: the detections that it was computed from.
        adapter: to be written; None where the file is a checkpoint, which stays as it is.
        dtype: that it is to be written in: its numbers are of that kind already.
    """

    result: MapResult
    found: list[Detections]
    adapter: Adapter | None = None
    dtype: torch.dtype = torch.float32


def outcome(job: Job, file: Path, epoch: Mapping[str, float], device: torch.device) -> Outcome:
    """Measure what a file gives, not what happens to be in memory; an adapter rounded to fp16 where that is as good.

    Args:
        job: what was trained; afterwards the detector has what is to be written.
        file: the best weights, in fp32.
        epoch: `map50_95` and `map50` on val in the epoch that they are of.
        device: where to compute.
    """
    if job.learner.adapter is None:
        detector = load_base(str(file))
        detector.to(device)
        return Outcome(*_measured(job, detector))
    whole = load_adapter(file)
    half = whole.rounded()
    if half.finite:
        result, found = _attached(job, half.to(device))
        changed = max(abs(getattr(result, name) - epoch[name]) for name in ("map50_95", "map50"))
        if changed <= NOTHING:
            return Outcome(result, found, half, torch.float16)
        reason = f"in fp16 its mAP on val would change by {changed:.4f}"
    else:
        reason = "fp16 does not hold its numbers"
    log.warning("%s: written in fp32, twice as large: %s", file, reason)
    return Outcome(*_attached(job, whole.to(device)), whole)


def _attached(job: Job, adapter: Adapter) -> tuple[MapResult, list[Detections]]:
    """How the detector does with an adapter in the place of the one that was trained."""
    detector = job.learner.detector
    detector.adapters.detach()
    detector.attach(adapter)
    return _measured(job, detector)


def _measured(job: Job, detector: Detector) -> tuple[MapResult, list[Detections]]:
    return measure(detector, job.val_batches, job.opened.val, job.names, mode=job.learner.mode)
