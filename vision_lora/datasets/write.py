"""Datasets written down: labels and yaml as YOLO has them, and COCO's JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vision_lora.datasets.sample import Boxes, Classes, Sample
from vision_lora.system.outputs import write_json


def yolo_labels(boxes: Boxes, classes: Classes, width: int, height: int) -> str:
    r"""The label file of a picture: a row a box, of class, centre, width and height as shares of the picture.

    Args:
        boxes: corners x1, y1, x2, y2 in pixels, (n, 4).
        classes: (n,).
        width: of the picture, pixels.
        height: of the picture, pixels.

    Examples:
        >>> yolo_labels(np.array([[8, 0, 24, 32]], "f4"), np.array([2]), 64, 64)
        '2 0.250000000 0.250000000 0.250000000 0.500000000\n'
    """
    shares = boxes.astype(np.float64) / [width, height, width, height]
    placed = np.concatenate([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]], 1)
    rows = zip(classes.tolist(), placed.tolist(), strict=True)
    return "".join(f"{c} {cx:.9f} {cy:.9f} {w:.9f} {h:.9f}\n" for c, (cx, cy, w, h) in rows)


def yolo_yaml(splits: Mapping[str, str | Mapping[str, str]], names: Sequence[str], root: str | None = None) -> str:
    r"""The `data.yaml` of a dataset.

    Args:
        splits: where the pictures of each are, below the root: a folder, or COCO's `json` and its `images`.
        names: of the classes.
        root: folder that paths start from. None leaves it out: then everyone starts from the yaml's own folder, while
            Ultralytics takes `.` for the working directory.

    Examples:
        >>> print(yolo_yaml({"train": "images/train"}, ["no", 'a "b"']))
        train: "images/train"
        names:
          0: "no"
          1: "a \"b\""
        <BLANKLINE>
    """
    lines = [f"path: {_quoted(root)}"] if root is not None else []
    lines += [f"{split}: {_quoted(place)}" for split, place in splits.items()]
    lines += ["names:", *(f"  {index}: {_quoted(name)}" for index, name in enumerate(names))]
    return "".join(f"{line}\n" for line in lines)


def write_coco(path: Path, samples: Sequence[Sample], names: Sequence[str], root: str) -> None:
    """Write COCO's JSON, which keeps boxes to the bit, areas, and regions to ignore (as crowds).

    All ids start from 1: pycocotools takes an annotation 0 for none, CVAT's importer (Datumaro) a category 0.

    Args:
        path: the file.
        samples: their order numbers the pictures.
        names: of the classes, by category id, less 1.
        root: folder that holds all pictures, links followed; their names are relative to it.

    Raises:
        OutputError: it cannot be written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, 1):
        name = Path(os.path.relpath(os.path.realpath(sample.path), root)).as_posix()
        images.append({"id": number, "file_name": name, "width": sample.width, "height": sample.height})
        boxes = np.concatenate([sample.boxes, sample.ignored]).astype(np.float64).tolist()
        classes = np.concatenate([sample.classes, sample.ignored_classes]).tolist()
        areas = [] if sample.areas is None else sample.areas.tolist()
        for place, ((x1, y1, x2, y2), c) in enumerate(zip(boxes, classes, strict=True)):
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": c + 1}
            # In double precision x + (x2 - x1) is x2 again.
            annotation |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": int(place >= len(sample.boxes))}
            if place < len(areas):
                annotation["area"] = areas[place]
            annotations.append(annotation)
    categories = [{"id": c, "name": name} for c, name in enumerate(names, 1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})


def _quoted(value: object) -> str:
    """JSON is YAML too, whatever stands in a name, but for its pairs of escapes."""
    return json.dumps(value, ensure_ascii=False)
