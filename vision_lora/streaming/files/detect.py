"""Detect in files: read, detect in batches, hand on in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vision_lora.datasets.tiles import join_detections, tile_windows
from vision_lora.detectors.base import Detector
from vision_lora.detectors.readout import Readout
from vision_lora.options.detect import PredictConfig
from vision_lora.pictures.detections import Detections, Mode
from vision_lora.streaming.sources.source import FileFrame


def detect_frames(
    detector: Detector,
    frames: Iterable[FileFrame],
    *,
    imgsz: int,
    batch: int,
    mode: Mode | None,
    readout: Readout,
    tile: int = 0,
    overlap: float = 0.2,
) -> Iterator[tuple[FileFrame, Detections]]:
    """Each frame with its detections, in order; at most `batch` frames are held at once.

    Args:
        detector: the detector, with its active adapter.
        frames: pictures of any size.
        imgsz: side of the square that a picture, or a tile, is fitted into, pixels.
        batch: pictures, or tiles, at once.
        mode: which passes run; None as in `Detector.detect`.
        readout: thresholds.
        tile: side of the tiles that each frame is cut into, pixels; 0 for whole frames.
        overlap: least share of a tile that its neighbour shows too.
    """
    if tile:
        for frame in frames:
            yield frame, _in_tiles(detector, frame, imgsz, batch, mode, readout, tile, overlap)
        return
    waiting: list[FileFrame] = []

    def flush() -> Iterator[tuple[FileFrame, Detections]]:
        pictures = [frame.picture for frame in waiting]
        yield from zip(waiting, detector.predict(pictures, imgsz, mode=mode, readout=readout), strict=True)
        waiting.clear()

    for frame in frames:
        waiting.append(frame)
        if len(waiting) == batch:
            yield from flush()
    yield from flush()


def detect_as(
    config: PredictConfig, detector: Detector, frames: Iterable[FileFrame]
) -> Iterator[tuple[FileFrame, Detections]]:
    """Each frame with its detections, see `detect_frames`, as the options of `predict` say."""
    return detect_frames(
        detector,
        frames,
        imgsz=config.imgsz or detector.imgsz,
        batch=config.batch,
        mode=config.mode,
        readout=detector.readout(config.confidence, iou=config.iou, limit=config.limit),
        tile=config.tile,
        overlap=config.overlap,
    )


def _in_tiles(
    detector: Detector,
    frame: FileFrame,
    imgsz: int,
    batch: int,
    mode: Mode | None,
    readout: Readout,
    tile: int,
    overlap: float,
) -> Detections:
    height, width = frame.picture.shape[:2]
    windows = tile_windows(width, height, tile, overlap)
    crops = [frame.picture[y1:y2, x1:x2] for x1, y1, x2, y2 in windows]
    found = [
        part
        for start in range(0, len(crops), batch)
        for part in detector.predict(crops[start : start + batch], imgsz, mode=mode, readout=readout)
    ]
    return join_detections(list(zip(windows, found, strict=True)), width, height)
