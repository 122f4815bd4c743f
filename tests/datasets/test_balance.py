"""Every file and every box of a dataset is used or told, in all formats and whatever is broken."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.build import picture
from vision_lora.datasets import open_dataset
from vision_lora.datasets.balance import Balance
from vision_lora.datasets.checking.check import check_dataset
from vision_lora.datasets.checking.fix import write_fixed

NAMES = ("scratch", "dent")
SPLITS = ("train", "val")


@dataclass
class Item:
    """A picture that a random dataset is made of, counted here and not by the readers.

    Args:
        stem: its name.
        split: where it belongs.
        damage: what is wrong with it; empty where nothing is.
        boxes: centre, width and height in shares of the picture, and class; a class of 9 is none.
        crowd: how many of the boxes are regions to ignore, where a format has them.
    """

    stem: str
    split: str
    damage: str
    boxes: list[tuple[float, float, float, float, int]] = field(default_factory=list)
    crowd: int = 0

    def sound(self, first: int = 0) -> int:
        """Boxes with a class, from one on."""
        return sum(box[4] < 9 for box in self.boxes[first:])


def items(rng: np.random.Generator) -> list[Item]:
    """Six pictures a split, the first sound, the others broken in one way or another."""
    made = []
    for split in SPLITS:
        for number in range(6):
            damage = str(rng.choice(["", "", "empty", "gone", "turned"])) if number else ""
            count = int(rng.integers(0, 4)) if number else 2
            boxes = [(0.5, 0.5, *rng.uniform(0.1, 0.4, 2), int(rng.choice([0, 1, 1, 9]))) for _ in range(count)]
            boxes = boxes if number else [(*box[:4], 0) for box in boxes]
            made.append(Item(f"{split}_{number}", split, damage, boxes, int(rng.integers(0, count + 1))))
    return made


def draw(item: Item, path: Path) -> Path:
    """The picture, with its damage; its boxes are as they would be without."""
    if item.damage != "gone":
        picture(path, seed=zlib.crc32(item.stem.encode()))
    if item.damage == "empty":
        path.write_bytes(b"")
    return path


def clutter(folder: Path) -> None:
    """Things that are no data, and one that nobody can place."""
    for name in (".DS_Store", "Thumbs.db", "README.md", "._x.png", "train.cache"):
        (folder / name).write_bytes(b"x")
    (folder / "prices.csv").write_text("1;2")


def yolo_labels(made: list[Item], root: Path) -> None:
    for item in made:
        draw(item, root / f"images/{item.split}/{item.stem}.png")
        rows = [" ".join(map(str, (box[4], *box[:4]))) for box in item.boxes]
        label = root / f"labels/{item.split}/{item.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("\n".join(rows))


def yolo_folder(made: list[Item], root: Path) -> Path:
    yolo_labels(made, root)
    for split in SPLITS:
        clutter(root / "images" / split)
        clutter(root / "labels" / split)
    text = "".join(f"{split}: images/{split}\n" for split in SPLITS)
    (root / "data.yaml").write_text(f"path: .\n{text}names: [scratch, dent]\n")
    return root


def yolo_list(made: list[Item], root: Path) -> Path:
    yolo_labels(made, root)
    for split in SPLITS:
        lines = [f"./images/{split}/{item.stem}.png" for item in made if item.split == split]
        (root / f"{split}.txt").write_text("\n".join([*lines, "/elsewhere/1.png"]))
    (root / "data.yaml").write_text("path: .\ntrain: train.txt\nval: val.txt\nnames: [scratch, dent]\n")
    return root


def label_studio_yolo(made: list[Item], root: Path) -> Path:
    yolo_labels(made, root)
    (root / "classes.txt").write_text("scratch\ndent\n")
    (root / "notes.json").write_text('{"categories": []}')
    return root


def coco_json(made: list[Item], path: Path, images: str) -> None:
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(made):
        for place, (cx, cy, w, h, kind) in enumerate(item.boxes):
            box = [(cx - w / 2) * 64, (cy - h / 2) * 48, w * 64, h * 48]
            crowd = int(place < item.crowd)
            rows.append({"id": len(rows), "image_id": number, "category_id": kind, "bbox": box, "iscrowd": crowd})
    size = {"": (64, 48), "turned": (48, 64)}
    entries = [
        dict(zip(("width", "height"), size.get(item.damage, (64, 48)), strict=True))
        | {"id": number, "file_name": f"{images}{item.stem}.png"}
        for number, item in enumerate(made)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": entries, "annotations": rows, "categories": categories}))


def coco(made: list[Item], root: Path) -> Path:
    for item in made:
        draw(item, root / item.split / f"{item.stem}.png")
    for split in SPLITS:
        coco_json([item for item in made if item.split == split], root / split / "_annotations.coco.json", "")
        clutter(root / split)
    return root


def coco_in_yaml(made: list[Item], root: Path) -> Path:
    for item in made:
        draw(item, root / "pictures" / f"{item.stem}.png")
    for split in SPLITS:
        coco_json([item for item in made if item.split == split], root / f"{split}.json", "")
    entries = "".join(f"{split}: {{json: {split}.json, images: pictures}}\n" for split in SPLITS)
    (root / "data.yaml").write_text(entries + "names: [scratch, dent]\n")
    clutter(root / "pictures")
    return root


def xml(item: Item) -> str:
    rows = ""
    for place, (cx, cy, w, h, kind) in enumerate(item.boxes):
        corners = {"xmin": (cx - w / 2) * 64, "ymin": (cy - h / 2) * 48, "xmax": (cx + w / 2) * 64}
        box = "".join(f"<{key}>{value}</{key}>" for key, value in (corners | {"ymax": (cy + h / 2) * 48}).items())
        name = "" if kind == 9 else NAMES[kind]
        hard = f"<difficult>{int(place < item.crowd)}</difficult>"
        rows += f"<object><name>{name}</name>{hard}<bndbox>{box}</bndbox></object>"
    width, height = (48, 64) if item.damage == "turned" else (64, 48)
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{rows}</annotation>"


def voc_lists(made: list[Item], root: Path) -> Path:
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for item in made:
        draw(item, root / f"JPEGImages/{item.stem}.png")
        (root / f"Annotations/{item.stem}.xml").write_text(xml(item))
    for split in SPLITS:
        stems = [item.stem for item in made if item.split == split]
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems))
    clutter(root / "Annotations")
    clutter(root / "JPEGImages")
    return root


def voc_beside(made: list[Item], root: Path) -> Path:
    for item in made:
        draw(item, root / item.split / f"{item.stem}.png")
        (root / item.split / f"{item.stem}.xml").write_text(xml(item))
    for split in SPLITS:
        clutter(root / split)
    return root


def label_studio(made: list[Item], root: Path) -> Path:
    tasks = []
    for number, item in enumerate(made):
        draw(item, root / "images" / f"{item.stem}.png")
        result = []
        for cx, cy, w, h, kind in item.boxes:
            value = {
                "x": (cx - w / 2) * 100,
                "y": (cy - h / 2) * 100,
                "width": w * 100,
                "height": h * 100,
                "rotation": 0,
            }
            value["rectanglelabels"] = [] if kind == 9 else [NAMES[kind]]
            width, height = (48, 64) if item.damage == "turned" else (64, 48)
            result.append({"original_width": width, "original_height": height, "value": value})
        address = f"/data/upload/1/0a1b2c3d-{item.stem}.png"
        tasks.append({"id": number, "data": {"image": address}, "annotations": [{"result": result}]})
    (root / "project.json").write_text(json.dumps(tasks))
    clutter(root / "images")
    return root


Maker = Callable[[list[Item], Path], Path]
FORMATS: list[Maker] = [
    *(yolo_folder, yolo_list, label_studio_yolo, coco, coco_in_yaml, voc_lists, voc_beside, label_studio),
]


YOLO = (yolo_folder, yolo_list, label_studio_yolo)
VOC = (voc_lists, voc_beside)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", FORMATS)
def test_seen_is_used_and_told(tmp_path: Path, make: Maker, seed: int) -> None:
    made = items(np.random.default_rng(seed))
    data = open_dataset(make(made, tmp_path))
    balance = data.balance
    assert balance.lost == (0, 0), str(balance)

    crowds = make not in (*YOLO, label_studio)
    whole = [item for item in made if item.damage == "" or (item.damage == "turned" and make in YOLO)]
    assert balance.boxes_seen == sum(len(item.boxes) for item in made)
    assert balance.boxes["used"] == sum(item.sound(item.crowd if crowds else 0) for item in whole)
    assert balance.boxes["ignored"] == sum(
        item.sound() - item.sound(item.crowd) if item.damage == "" else item.sound()  # in a turned picture: all
        for item in made
        if (crowds and item.damage == "") or (make in VOC and item.damage == "turned")
    )
    used = {sample.path.stem for samples in data.splits.values() for sample in samples}
    turned = [item for item in made if item.damage == "turned"]
    # Label Studio states the size with each region, so that a picture without any says nothing.
    kept = turned if make in VOC else [item for item in turned if make is label_studio and not item.boxes]
    assert used == {item.stem for item in [*whole, *kept]}

    named = ("data.yaml", "train.txt", "val.txt", "classes.txt", "notes.json")  # where data is, but none itself
    files = {file for file in tmp_path.rglob("*") if file.is_file() and "ImageSets" not in file.parts}
    files -= {tmp_path / name for name in named}
    gone = sum(item.damage == "gone" for item in made) if make in (yolo_list, coco, coco_in_yaml, label_studio) else 0
    elsewhere = len(SPLITS) if make is yolo_list else 0
    assert balance.files_seen == len(files) + gone + elsewhere
    assert str(balance).startswith(f"files: {balance.files_seen} seen = {balance.files['used']} used + ")


@pytest.mark.parametrize("make", FORMATS)
def test_a_cleaned_copy_accounts_for_every_box(tmp_path: Path, make: Maker) -> None:
    made = items(np.random.default_rng(3))
    report = check_dataset(open_dataset(make(made, tmp_path / "data")), imgsz=64)
    changes = write_fixed(report, tmp_path / "clean")
    clean = open_dataset(tmp_path / "clean")
    removed = sum(change.startswith("removed: ") for change in changes)
    assert not clean.problems
    assert clean.balance.boxes_seen + removed == report.dataset.balance.boxes["used"]
    regions = sum(int(change.split(": ")[2].split()[0]) for change in changes if change.startswith("ignored: "))
    assert regions == report.dataset.balance.boxes["ignored"]


def test_a_box_that_nothing_accounts_for_is_said() -> None:
    balance = Balance({"used": 3}, {"used": 1, "skipped": 1}, 3, 3)
    assert balance.lost == (0, 1)
    assert str(balance).endswith("boxes: 3 seen = 1 used + 1 skipped + 1 LOST (please report this)")
