"""Damaged files of every kind: the readers give a dataset or a DataError of one line, never another exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.datasets.build import annotation, coco, voc, voc_object, yolo
from vision_lora.datasets import open_dataset
from vision_lora.errors import DataError

ODD = [b"\x00", b"\xff\xfe", b"-", b"1e999", b"nan", b"null", b"{}", b"[]", b'"', b"\n", b": ", b"../", b"*a", b"true"]


def yolo_files(root: Path) -> tuple[Path, list[Path]]:
    data = yolo(root, train="train.txt")
    (root / "train.txt").write_text("./images/train/0.png\n./images/train/1.png\n")
    return data, [data, root / "train.txt", root / "labels/train/0.txt", root / "images/train/1.png"]


def coco_files(root: Path) -> tuple[Path, list[Path]]:
    mask = annotation(2, bbox=[], segmentation={"size": [48, 64], "counts": [3000, 72]})
    data = coco(root, [annotation(1), mask, annotation(3, segmentation=[[1, 1, 9, 1, 9, 9]], bbox=None)])
    return data, [data]


def voc_files(root: Path) -> tuple[Path, list[Path]]:
    voc(root, voc_object("dent", 1, 1, 9, 9) + voc_object("scratch", 2, 2, 30, 30))
    return root, [root / "Annotations/1.xml"]


def told(data: Path) -> str:
    """What opening says about a dataset; where it opens, its boxes are sound."""
    try:
        dataset = open_dataset(data)
    except DataError as error:
        return str(error)
    for samples in dataset.splits.values():
        for sample in samples:
            assert np.isfinite(sample.boxes).all()
            assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
            assert (sample.boxes >= 0).all()
            assert (sample.boxes <= [sample.width, sample.height] * 2).all()
    return "".join(map(str, dataset.problems))


@pytest.mark.parametrize("make", [yolo_files, coco_files, voc_files])
def test_damage_is_told(tmp_path: Path, make: Callable[[Path], tuple[Path, list[Path]]]) -> None:
    data, files = make(tmp_path)
    sound = {file: file.read_bytes() for file in files}
    rng = np.random.default_rng(0)
    for _ in range(120):
        file = files[rng.integers(len(files))]
        damaged = bytearray(sound[file])
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(len(damaged) + 1))
            stop = min(len(damaged), start + int(rng.integers(0, 12)))
            damaged[start:stop] = ODD[rng.integers(len(ODD))] if rng.random() < 0.7 else b""
        file.write_bytes(damaged)
        assert "\n" not in told(data)
        file.write_bytes(sound[file])


WRONG: list[Any] = [
    *(None, True, -1, 1.5, 10**400, float("nan"), float("inf")),
    *("", "x" * 5000, "\0", "../x", "1.png"),
    *([], {}, [[]], {"id": 1}, [1, 2, 3, 4]),
    *({"counts": "abc", "size": [1, 2]}, {"counts": [10**30], "size": [10**20, 1]}, [[1e308, -1e308, 1e308, 1, 2, 3]]),
]

YAML: dict[str, Any] = {
    "path": ".",
    "train": ["images/train"],
    "val": {"json": "a.json", "images": "images"},
    "names": {0: "a", 1: "b", 2: "c"},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested lists and mappings."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("make", [yolo_files, coco_files])
def test_values_of_any_kind_anywhere(tmp_path: Path, make: Callable[[Path], tuple[Path, list[Path]]]) -> None:
    data, _ = make(tmp_path)
    is_json = data.suffix == ".json"
    base: Any = json.loads(data.read_text()) if is_json else YAML
    for place in places(base):
        for wrong in WRONG:
            changed = copy.deepcopy(base)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = wrong
            data.write_text(json.dumps(changed) if is_json else yaml.safe_dump(changed))
            assert "\n" not in told(data)
