"""What is written is read again as it was, by our readers and by Ultralytics' yaml."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.build import picture
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.datasets.write import write_coco, yolo_labels, yolo_yaml

NAMES = ("no", 'a "b": {c}', "010, 2", "陶器 🏺")
BOXES = np.array([[1.25, 2, 33.1, 47.9], [0, 0, 64, 48], [7.7, 8.8, 9.9, 10.1]], np.float32)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    file = picture(tmp_path / "pictures" / "train" / "a.png", 64, 48)
    return Sample(file, 64, 48, BOXES, np.array([3, 0, 1]))


def as_yolo(sample: Sample, folder: Path) -> None:
    labels = folder / "labels" / "train" / "a.txt"
    labels.parent.mkdir(parents=True)
    (folder / "images").symlink_to(folder / "pictures")
    labels.write_text(yolo_labels(sample.boxes, sample.classes, 64, 48), encoding="utf-8")
    (folder / "data.yaml").write_text(yolo_yaml({"train": "images/train"}, NAMES), encoding="utf-8")


def as_coco_in_yaml(sample: Sample, folder: Path) -> None:
    root = str((folder / "pictures").resolve())
    write_coco(folder / "a.json", [sample], NAMES, root)
    text = yolo_yaml({"train": {"json": "a.json", "images": root}}, NAMES, str(folder))
    (folder / "data.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("write", "exact"), [(as_yolo, False), (as_coco_in_yaml, True)])
def test_what_is_written_is_read_again(
    write: Callable[[Sample, Path], None], exact: bool, sample: Sample, tmp_path: Path
) -> None:
    write(sample, tmp_path)
    dataset = open_dataset(str(tmp_path / "data.yaml"), strict=True).sure()
    (read,) = dataset.splits["train"]
    assert dataset.names == NAMES
    assert np.array_equal(read.classes, sample.classes)
    assert read.boxes == pytest.approx(sample.boxes, abs=0 if exact else 1e-5)


def test_coco_keeps_areas_and_regions_to_ignore(sample: Sample, tmp_path: Path) -> None:
    region, areas = np.array([[5, 5, 20, 15]], np.float32), np.array([800.5, 3072, 1.5])
    full = Sample(sample.path, 64, 48, BOXES, sample.classes, region, np.array([2]), areas=areas)
    write_coco(tmp_path / "a.json", [full], NAMES, str(tmp_path.resolve()))
    rows = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert rows["images"] == [{"id": 1, "file_name": "pictures/train/a.png", "width": 64, "height": 48}]
    ids = [row[key] for entries in rows.values() for row in entries for key in row if key in ("id", "category_id")]
    assert min(ids) == 1  # 0 means none to pycocotools (annotations) and to Datumaro, CVAT's importer (categories)
    assert [row.get("area") for row in rows["annotations"]] == [800.5, 3072, 1.5, None]
    assert [row["iscrowd"] for row in rows["annotations"]] == [0, 0, 0, 1]
    assert rows["annotations"][3]["bbox"] == [5, 5, 15, 10]
    (read,) = open_dataset(str(tmp_path / "a.json"), strict=True).sure().splits["train"]
    assert np.array_equal(read.ignored, region)
    assert read.areas is not None
    assert read.areas.tolist() == areas.tolist()


def test_a_picture_without_boxes_has_an_empty_label_file() -> None:
    assert yolo_labels(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 64, 48) == ""
