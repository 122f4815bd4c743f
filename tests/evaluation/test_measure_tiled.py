"""Whole frames measured through tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.tiles import join_detections
from vision_lora.detectors.readout import Readout
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import DataError
from vision_lora.evaluation.measure import measure_tiled
from vision_lora.pictures.detections import Detections
from vision_lora.pictures.images import read_image
from vision_lora.streaming.files.detect import detect_frames
from vision_lora.streaming.sources.source import FileFrame


def test_parts_of_two_tiles_are_told_once_in_pixels_of_the_picture() -> None:
    def part(*boxes: tuple[float, float, float, float]) -> Detections:
        rows = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(rows, np.full(len(rows), 0.9, np.float32), np.zeros(len(rows), np.int64), ("dent",), 0)

    windows = [(0, 0, 100, 100), (60, 0, 160, 100)]
    found = join_detections([(windows[0], part((65, 20, 95, 50))), (windows[1], part((5, 20, 35, 50)))], 160, 100)
    assert found.boxes.tolist() == [[65, 20, 95, 50]]
    assert found.name(0) == "dent"
    assert found.source(0) == "defects"


def test_a_tile_as_large_as_the_picture_changes_nothing(shared: Path) -> None:
    detector = YoloDetector.load(str(shared / "weights" / "yolo11n.pt"))
    data = open_dataset(shared / "datasets" / "coco128" / "data.yaml")
    sample = next(sample for sample in data.splits["val"] if len(sample.boxes) > 2)
    frame = FileFrame("a", read_image(sample.path))
    options = {"imgsz": 320, "batch": 2, "mode": "general", "readout": Readout()}
    (_, whole), (_, tiled) = (next(iter(detect_frames(detector, [frame], tile=tile, **options))) for tile in (0, 4096))
    assert len(whole)
    assert np.allclose(whole.boxes, tiled.boxes)
    result, found = measure_tiled(
        detector, [sample], data.names, imgsz=320, batch=2, tile=200, overlap=0.2, mode="general"
    )
    assert 0 < result.map50 <= 1
    assert (found[0].boxes[:, [0, 2]] <= sample.width).all()
    with pytest.raises(DataError, match="none of the dataset's classes"):
        measure_tiled(detector, [sample], ["rust"], imgsz=320, batch=2, tile=200, overlap=0.2, mode="general")
