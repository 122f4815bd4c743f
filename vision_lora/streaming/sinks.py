"""Where detections go: annotated pictures and videos, and COCO results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.detections import Detections
from vision_lora.drawing import draw_detections
from vision_lora.errors import DataError
from vision_lora.streaming.source import Frame


class AnnotatedFolder:
    """Writes each picture, and each video, with the boxes drawn on it.

    Args:
        folder: an existing folder; the sources' own subfolders are made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._video: tuple[str, cv2.VideoWriter] | None = None

    def write(self, frame: Frame, found: Detections) -> None:
        """Draw and write one frame; frames of a video have to come in order."""
        annotated = cv2.cvtColor(draw_detections(frame.picture, found), cv2.COLOR_RGB2BGR)
        target = self.folder / frame.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if frame.index is not None:
            self._writer(frame, target.with_suffix(".mp4")).write(annotated)
        elif not cv2.imwrite(str(target), annotated):
            raise DataError(f"{target}: the annotated picture cannot be written; is the disk full?")

    def close(self) -> None:
        """Finish the video that is being written."""
        if self._video is not None:
            self._video[1].release()
            self._video = None

    def _writer(self, frame: Frame, target: Path) -> cv2.VideoWriter:
        if self._video is None or self._video[0] != frame.name:
            self.close()
            height, width = frame.picture.shape[:2]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = (frame.name, cv2.VideoWriter(str(target), code, frame.fps, (width, height)))
        return self._video[1]


def coco_results(frame: Frame, found: Detections) -> list[dict[str, Any]]:
    """Detections in the form of COCO results, by file and class name.

    Returns:
        One dict a detection: file_name, category_name, bbox (x, y, width, height in pixels of the original picture),
        score, source; and frame, the frame number, where the file is a video.
    """
    corners: NDArray[np.float64] = found.boxes.astype(np.float64)
    rows = []
    for index, (x1, y1, x2, y2) in enumerate(corners):
        row: dict[str, Any] = {
            "file_name": frame.name,
            "category_name": found.name(index),
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "score": float(found.scores[index]),
            "source": found.source(index),
        }
        if frame.index is not None:
            row["frame"] = frame.index
        rows.append(row)
    return rows
