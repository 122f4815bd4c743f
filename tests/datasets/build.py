"""Small datasets made by code, in every format that the readers know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vision_lora.datasets import Sample

NAMES = ("scratch", "dent", "stain")


def picture(path: Path, width: int = 64, height: int = 48, *, seed: int = 0, mode: str = "RGB") -> Path:
    """Write a picture of noise; JPEG or PNG by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).convert(mode).save(path)
    return path


def yolo(root: Path, labels: Sequence[str] = ("0 0.5 0.5 0.5 0.5\n", "1 0.5 0.5 0.25 0.25\n"), **yaml: str) -> Path:
    """A YOLO dataset with one picture a label text, all in `train`; keywords replace lines of the yaml."""
    for index, text in enumerate(labels):
        picture(root / "images" / "train" / f"{index}.png", seed=index)
        label = root / "labels" / "train" / f"{index}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
    lines = {"path": ".", "train": "images/train", "names": "[scratch, dent, stain]"} | yaml
    (root / "data.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return root / "data.yaml"


def coco(root: Path, annotations: Sequence[object] = (), **lists: object) -> Path:
    """A COCO dataset of two pictures; keywords replace its lists."""
    for index in (1, 2):
        picture(root / f"{index}.png", seed=index)
    data: dict[str, object] = {
        "images": [{"id": index, "file_name": f"{index}.png", "width": 64, "height": 48} for index in (1, 2)],
        "categories": [{"id": 3, "name": "scratch"}, {"id": 7, "name": "dent"}],
        "annotations": list(annotations),
    }
    (root / "a.json").write_text(json.dumps(data | lists))
    return root / "a.json"


def annotation(number: int = 17, **fields: object) -> dict[str, object]:
    """A sound COCO annotation, with some fields replaced."""
    return {"id": number, "image_id": 1, "category_id": 3, "bbox": [4, 4, 20, 10]} | fields


def voc(root: Path, objects: str, name: str = "1") -> Path:
    """A VOC dataset of one picture with the given <object> elements."""
    picture(root / "JPEGImages" / f"{name}.png")
    xml = root / "Annotations" / f"{name}.xml"
    xml.parent.mkdir(parents=True, exist_ok=True)
    xml.write_text(f"<annotation><filename>{name}.png</filename>{objects}</annotation>")
    return root


def voc_object(name: str, x1: float, y1: float, x2: float, y2: float, extra: str = "") -> str:
    """One VOC <object>, pixels counted from 1."""
    box = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def write_voc(samples: Sequence[Sample], names: Sequence[str], root: Path) -> Path:
    """The same samples as a VOC dataset, with the pictures linked (hard, so they stay inside)."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        (root / "JPEGImages" / sample.path.name).write_bytes(sample.path.read_bytes())
        rows = "".join(
            voc_object(names[int(kind)], float(x1) + 1, float(y1) + 1, float(x2), float(y2))
            for (x1, y1, x2, y2), kind in zip(sample.boxes, sample.classes, strict=True)
        )
        (root / "Annotations" / f"{sample.path.stem}.xml").write_text(f"<annotation>{rows}</annotation>")
    (root / "classes.txt").write_text("\n".join(names))
    return root
