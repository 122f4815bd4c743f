"""What ends a reading because nothing is left says why: the first reason, and how many there are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.build import annotation, coco, picture, voc, voc_object, yolo
from vision_lora import check
from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.batches.loader import Loading, train_loader
from vision_lora.datasets.open import open_dataset, open_pictures
from vision_lora.datasets.sample import Problems, Sample, as_boxes
from vision_lora.datasets.split import split_dataset
from vision_lora.errors import DataError

ROW = "0 0.5 0.5 0.5 0.5\n"


def listed(lines: str) -> Callable[[Path], Path]:
    """A YOLO list of pictures that are not there under these names."""

    def make(root: Path) -> Path:
        data = yolo(root, [ROW, ROW], train="train.txt")
        (root / "train.txt").write_text(lines)
        return data

    return make


def without(ending: str) -> Callable[[Path], Path]:
    """Pictures of an ending that is not read, with their labels."""

    def make(root: Path) -> Path:
        data = yolo(root, [ROW, ROW])
        for image in (root / "images/train").iterdir():
            image.unlink()
            image.with_suffix(ending).write_bytes(b"\0\0\0\x18ftypheic")
        return data

    return make


def links(root: Path) -> Path:
    data = yolo(root, [ROW, ROW])
    for image in sorted((root / "images/train").iterdir()):
        kept = root.parent / f"store_{image.name}"
        image.rename(kept)
        image.symlink_to(kept)
    return data


def labels_elsewhere(root: Path) -> Path:
    data = yolo(root, [ROW, ROW])
    for label in (root / "labels/train").iterdir():
        label.rename(root / "images/train" / label.name)
    return data


def labels_in_utf16(root: Path) -> Path:
    data = yolo(root, [ROW, ROW])
    for label in (root / "labels/train").iterdir():
        label.write_text(ROW, encoding="utf-16")
    return data


def empty_val(root: Path) -> Path:
    """The first split has a problem of its own, which is no reason for the second."""
    data = yolo(root, [ROW + "9 0.5 0.5 0.5 0.5\n"], val="images/val")
    for name in "ab":
        picture(root / f"images/val/{name}.png").write_bytes(b"")
    return data


def coco_sizes(root: Path) -> Path:
    images = [{"id": index, "file_name": f"{index}.png", "width": 0, "height": 0} for index in (1, 2)]
    return coco(root, [annotation()], images=images)


def coco_gone(root: Path) -> Path:
    images = [{"id": index, "file_name": f"{index}.png"} for index in (1, 2)]
    data = coco(root, [annotation()], images=images)
    for index in (1, 2):
        (root / f"{index}.png").write_bytes(b"")
    return data


def coco_leaves(root: Path) -> Path:
    outside = picture(root.parent / "outside.png")
    return coco(root, [annotation()], images=[{"id": n, "file_name": f"../{outside.name}"} for n in (1, 2)])


def voc_gone(root: Path) -> Path:
    for name in "ab":
        voc(root, voc_object("dent", 1, 1, 9, 9), name)
        (root / f"JPEGImages/{name}.png").unlink()
    return root


def voc_broken(root: Path) -> Path:
    for name in "ab":
        voc(root, voc_object("dent", 1, 1, 9, 9), name)
        (root / f"Annotations/{name}.xml").write_text("<annotation>")
    return root


def voc_nameless(root: Path) -> Path:
    for name in "ab":
        voc(root, voc_object("", 1, 1, 9, 9), name)
    return root


def label_studio_elsewhere(root: Path) -> Path:
    root.mkdir()
    value = {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["dent"]}
    tasks = [
        {"id": n, "data": {"image": f"s3://bucket/{n}.png"}, "annotations": [{"result": [{"value": value}]}]}
        for n in (1, 2)
    ]
    (root / "a.json").write_text(json.dumps(tasks))
    return root


ENDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "list with a folder in front": (listed("data/images/train/0.png\ndata/images/train/1.png"), "0.png: no such pict"),
    "list of Windows": (listed("images\\train\\0.png\r\nimages\\train\\1.png\r\n"), "no such picture"),
    "list of another machine": (listed("/kaggle/input/0.png\n/kaggle/input/1.png"), "leaves the dataset's folder"),
    "list of folders": (listed("images/train\nlabels/train\n"), "images/train: a folder"),
    "HEIC only": (without(".heic"), "0.heic: unreadable picture"),
    "raw pictures only": (without(".dng"), "0.dng lies there"),
    "links only": (links, "0.png: a link to"),
    "labels beside the pictures": (labels_elsewhere, "where they are not read"),
    "labels in UTF-16": (labels_in_utf16, "no text in UTF-8"),
    "val only": (empty_val, "a.png: unreadable picture"),
    "COCO of size 0": (coco_sizes, "size 0 x 0"),
    "COCO of empty pictures": (coco_gone, "1.png: unreadable picture"),
    "COCO elsewhere": (coco_leaves, "leaves"),
    "VOC without pictures": (voc_gone, "filename 'a.png', which is not there"),
    "VOC cut off": (voc_broken, "a.xml: broken XML"),
    "VOC without names": (voc_nameless, "a.xml, object 1: no name"),
    "Label Studio, pictures elsewhere": (label_studio_elsewhere, "picture 's3://bucket/1.png'"),
}


@pytest.mark.parametrize(("make", "reason"), ENDS.values(), ids=ENDS)
def test_the_end_says_why(
    tmp_path: Path, make: Callable[[Path], Path], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(tmp_path / "data")
    assert check.main(["--data", str(data), "--imgsz", "64"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "2 reasons, the first: " in line
    assert reason in line.split("the first: ")[1]


@pytest.mark.skipif(os.name == "nt", reason="modes are Unix's")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    data = yolo(tmp_path, [ROW])
    (tmp_path / "images/train").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be read"):
            open_dataset(data)
    finally:
        (tmp_path / "images/train").chmod(0o755)


def undecodable(root: Path, count: int) -> list[Sample]:
    """Pictures whose damage only decoding shows."""
    samples = []
    for index in range(count):
        path = picture(root / f"{index}.png", seed=index)
        content = bytearray(path.read_bytes())
        content[60:900] = bytes(840)
        path.write_bytes(content)
        samples.append(Sample(path, 64, 48, as_boxes([(1, 1, 9, 9)]), np.zeros(1, np.int64)))
    return samples


def test_training_pictures_that_cannot_be_decoded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3 training pictures cannot be .*\(3 reasons, the first: .*0\.png: unreadab"):
        train_loader(undecodable(tmp_path, 3), 64, 2, recipe=load_recipe("none"), seed=0, loading=Loading(0))


def test_pictures_to_split_that_cannot_be_decoded(tmp_path: Path) -> None:
    yolo(tmp_path, [ROW] * 4)
    data = open_dataset(tmp_path)
    undecodable(tmp_path / "images/train", 2)
    with pytest.raises(DataError, match=r"2 of 4 pictures to split .* the first: .*0\.png: unreadable"):
        split_dataset(data)


def test_pictures_to_replay_of_which_none_can_be_read(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 reasons, the first: .*a\.png: unreadable"):
        open_pictures(tmp_path)
    picture(tmp_path / "c.png")
    assert [sample.path.name for sample in open_pictures(tmp_path)] == ["c.png"]


def test_without_a_reason_there_is_none() -> None:
    assert str(Problems().ending("nothing here")) == "nothing here; expected at least one"


def test_a_hidden_picture_is_not_learned_as_background(tmp_path: Path) -> None:
    """Objects are somewhere in it: as background it would teach that they are none."""
    voc(tmp_path, voc_object("dent", 1, 1, 9, 9))
    voc(tmp_path, "<size><width>9</width><height>9</height></size>" + voc_object("dent", 1, 1, 9, 9), "2")
    samples = open_dataset(tmp_path).splits["train"]
    loader = train_loader(samples, 64, 2, recipe=load_recipe("none"), seed=0, loading=Loading(0))
    assert [int(i) for batch in loader for i in batch.indices] == [0]
