"""Detect in files: read, detect in batches, hand on in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vision_lora.detections import Detections
from vision_lora.detectors.base import Detector, Mode, Readout
from vision_lora.streaming.source import Frame


def detect_frames(
    detector: Detector, frames: Iterable[Frame], *, imgsz: int, batch: int, mode: Mode, readout: Readout
) -> Iterator[tuple[Frame, Detections]]:
    """Each frame with its detections, in order; at most `batch` frames are held at once."""
    waiting: list[Frame] = []

    def flush() -> Iterator[tuple[Frame, Detections]]:
        pictures = [frame.picture for frame in waiting]
        yield from zip(waiting, detector.predict(pictures, imgsz, mode=mode, readout=readout), strict=True)
        waiting.clear()

    for frame in frames:
        waiting.append(frame)
        if len(waiting) == batch:
            yield from flush()
    yield from flush()
