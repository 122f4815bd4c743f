"""What a reader cannot use is said, whatever it is called and wherever it lies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.datasets.build import annotation, coco, picture, voc, voc_object, yolo
from vision_lora.datasets import Dataset, open_dataset
from vision_lora.errors import DataError

ROW = "0 0.5 0.5 0.5 0.5\n"


def boxes(data: Dataset) -> int:
    return sum(len(sample.boxes) for samples in data.splits.values() for sample in samples)


def place(root: Path, name: str, content: bytes = b"x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", ["jfif", "JFIF", "jpe", "gif", "avif", "JPG"])
def test_endings_that_pillow_reads_are_read(tmp_path: Path, ending: str) -> None:
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow decodes no AVIF")
    data = yolo(tmp_path, [ROW, ROW])
    kind = {"gif": "GIF", "avif": "AVIF"}.get(ending, "JPEG")
    Image.open(tmp_path / "images/train/1.png").save(tmp_path / f"images/train/1.{ending}", format=kind)
    (tmp_path / "images/train/1.png").unlink()
    read = open_dataset(data)
    assert (len(read.splits["train"]), boxes(read)) == (2, 2)
    assert read.splits["train"][1].read().shape == (48, 64, 3)
    assert not read.problems


@pytest.mark.parametrize("name", ["1.TXT", "1.Txt"])
def test_endings_of_labels_may_be_capitals(tmp_path: Path, name: str) -> None:
    data = yolo(tmp_path, [ROW, ROW])
    (tmp_path / "labels/train/1.txt").rename(tmp_path / "labels/train" / name)
    assert boxes(open_dataset(data)) == 2


def test_endings_of_everything_else_may_be_capitals(tmp_path: Path) -> None:
    yolo(tmp_path / "yolo", [ROW]).rename(tmp_path / "yolo/Data.YAML")
    coco(tmp_path / "coco", [annotation()]).rename(tmp_path / "coco/A.JSON")
    (voc(tmp_path / "voc", voc_object("dent", 1, 1, 9, 9)) / "Annotations/1.xml").rename(
        tmp_path / "voc/Annotations/1.XML"
    )
    assert [boxes(open_dataset(tmp_path / name)) for name in ("yolo", "coco", "voc")] == [1, 1, 1]


# What can lie in a YOLO dataset of one sound picture: made, where a problem says so, and what it says.
TOLD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "HEIC, labelled": (
        lambda root: (place(root, "images/train/1.heic"), place(root, "labels/train/1.txt", ROW.encode() * 3)),
        "1.heic",
        "with 3 boxes",
    ),
    "HEIC, not labelled": (lambda root: place(root, "images/train/1.heic"), "1.heic", "unreadable picture"),
    "raw picture, labelled": (
        lambda root: (place(root, "images/train/1.dng"), place(root, "labels/train/1.txt", ROW.encode() * 3)),
        "1.txt",
        "without a picture that is read (1.dng lies there) (with 3 boxes)",
    ),
    "label without picture": (lambda root: place(root, "labels/train/7.txt", ROW.encode()), "7.txt", "without a pic"),
    "double ending": (lambda root: place(root, "labels/train/0.png.txt", ROW.encode()), "0.png.txt", "without a pict"),
    "label beside its picture": (
        lambda root: (picture(root / "images/train/1.png"), place(root, "images/train/1.txt", ROW.encode())),
        "images/train/1.txt",
        "where they are not read",
    ),
    "UTF-16": (
        lambda root: (picture(root / "images/train/1.png"), place(root, "labels/train/1.txt", ROW.encode("utf-16"))),
        "1.txt",
        "no text in UTF-8",
    ),
    "folder named like a picture": (lambda root: (root / "images/train/1.png").mkdir(), "1.png", "a folder named"),
    "folder that links to its parent": (
        lambda root: (root / "images/train/more").symlink_to(root / "images"),
        "more",
        "a link to a folder",
    ),
    "link to nothing": (lambda root: (root / "images/train/1.png").symlink_to(root / "2.png"), "1.png", "nothing"),
    "link to itself": (lambda root: (root / "images/train/1.png").symlink_to("1.png"), "1.png", "symbolic links"),
    "labels folder that leaves": (
        lambda root: (
            picture(root / "images/out/1.png"),
            place(root.parent, f"{root.name}_out/1.txt", ROW.encode()),
            (root / "labels/out").symlink_to(root.parent / f"{root.name}_out"),
        ),
        "labels/out",
        "leaves the dataset's folder",
    ),
}


@pytest.mark.parametrize(("make", "where", "found"), TOLD.values(), ids=TOLD)
def test_it_is_told(tmp_path: Path, make: Callable[[Path], object], where: str, found: str) -> None:
    data = yolo(tmp_path / "data", [ROW], train="images")
    make(tmp_path / "data")
    read = open_dataset(data)
    (problem,) = read.problems
    assert where in str(problem)
    assert found in str(problem)
    assert "\n" not in str(problem)
    assert read.balance.lost == (0, 0)
    assert boxes(read) == 1, "the sound picture stays"


# What is no mistake by itself but would be missed: it is noted.
NOTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "picture without label file": (lambda root: picture(root / "images/train/1.png"), "no label file"),
    "a table among the pictures": (lambda root: place(root, "images/train/a.csv"), "a file that is not read"),
    "a text among the labels": (lambda root: place(root, "labels/train/a.txt", b"by Anna\n"), "no label"),
    "pictures in another folder": (
        lambda root: [picture(root / f"images/holdout/{i}.png") for i in range(3)],
        "3 pictures that no split names",
    ),
}


@pytest.mark.parametrize(("make", "found"), NOTED.values(), ids=NOTED)
def test_it_is_noted(tmp_path: Path, make: Callable[[Path], object], found: str) -> None:
    data = yolo(tmp_path, [ROW])
    make(tmp_path)
    read = open_dataset(data, strict=True)
    (note,) = read.noted
    assert found in str(note)
    assert read.balance.lost == (0, 0)


def test_what_is_plainly_no_data_is_only_counted(tmp_path: Path) -> None:
    data = yolo(tmp_path, [ROW])
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "README.roboflow.txt", "LICENSE", "classes.txt", "notes.json"):
        place(tmp_path, f"images/train/{name}")
    for name in (".ipynb_checkpoints/0-checkpoint.png", "__MACOSX/._0.png", "@eaDir/0.png"):
        place(tmp_path, f"images/train/{name}")
    place(tmp_path, "labels/train.cache")
    picture(tmp_path / "images/train/license_plate.png")
    read = open_dataset(data)
    assert len(read.splits["train"]) == 2, "a picture whose name begins with `license` is one"
    assert not read.problems
    assert [note.file.name for note in read.noted] == ["license_plate.png"]
    assert read.balance.files["not needed"] == 7


def test_voc_pictures_and_lists_that_do_not_meet(tmp_path: Path) -> None:
    for name in "abc":
        voc(tmp_path, voc_object("dent", 1, 1, 9, 9), name)
    place(tmp_path, "ImageSets/Main/train.txt", b"a\n")
    picture(tmp_path / "JPEGImages/d.png")
    read = open_dataset(tmp_path)
    told = " ".join(map(str, read.noted))
    assert told.count("an XML that no split names") == 2
    assert "3 pictures without an XML that is read" in told
    assert read.balance.files == {"used": 2, "skipped": 0, "left out": 5, "not needed": 0}


def test_voc_of_several_pictures_with_one_stem_takes_the_stated_one(tmp_path: Path) -> None:
    voc(tmp_path, voc_object("dent", 1, 1, 9, 9))
    picture(tmp_path / "JPEGImages/1.jpg")
    read = open_dataset(tmp_path)
    assert [sample.path.name for sample in read.splits["train"]] == ["1.png"]
    assert "1 pictures without an XML" in str(read.noted[0])


@pytest.mark.parametrize("ending", ["tif", "jfif", "JPG", "webp"])
def test_voc_beside_pictures_of_any_ending(tmp_path: Path, ending: str) -> None:
    voc(tmp_path / "made", voc_object("dent", 1, 1, 9, 9))
    (tmp_path / "train").mkdir()
    (tmp_path / "made/Annotations/1.xml").rename(tmp_path / "train/1.xml")
    kind = {"tif": "TIFF", "webp": "WEBP"}.get(ending, "JPEG")
    Image.open(tmp_path / "made/JPEGImages/1.png").save(tmp_path / f"train/1.{ending}", format=kind)
    shutil.rmtree(tmp_path / "made")
    assert boxes(open_dataset(tmp_path)) == 1


def test_voc_xml_in_a_folder_that_is_no_split(tmp_path: Path) -> None:
    for split in ("train", "holdout"):
        voc(tmp_path / "made" / split, voc_object("dent", 1, 1, 9, 9))
        for file in (tmp_path / "made" / split).glob("*/*"):
            (tmp_path / split).mkdir(exist_ok=True)
            file.rename(tmp_path / split / file.name)
    read = open_dataset(tmp_path)
    assert {note.file.name for note in read.noted} == {"1.xml", "holdout"}


STATED = {
    "resized later": ("1280", "960", "size 1280 x 960, so the picture is ignored as a whole; expected 64 x 48"),
    "never filled in": ("0", "0", "size 0 x 0"),
    "turned": ("48", "64", "expected 64 x 48 (upright)"),
}


@pytest.mark.parametrize(("width", "height", "found"), STATED.values(), ids=STATED)
def test_voc_size_of_another_picture(tmp_path: Path, width: str, height: str, found: str) -> None:
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    voc(tmp_path, size + voc_object("dent", 1, 1, 9, 9))
    read = open_dataset(tmp_path)
    (sample,) = read.splits["train"]
    assert found in str(read.problems[0])
    assert sample.hidden
    np.testing.assert_array_equal(sample.ignored, [[0, 0, 64, 48]])


@pytest.mark.parametrize("text", ["", "<annotation>", "\x00", "<annotation><object/></annotation>"])
def test_voc_xml_without_sense(tmp_path: Path, text: str) -> None:
    voc(tmp_path, voc_object("dent", 1, 1, 9, 9))
    voc(tmp_path, "", "2")
    (tmp_path / "Annotations/2.xml").write_text(text)
    read = open_dataset(tmp_path)
    assert len(read.problems) == 1
    assert read.balance.lost == (0, 0)


def test_coco_tells_what_it_does_not_list(tmp_path: Path) -> None:
    incomplete = annotation(2)
    del incomplete["category_id"]
    images = [
        {"id": 1, "file_name": "1.png"},
        {"id": 2, "file_name": "sub\\2.png"},
        {"id": 3, "file_name": "a%20b.png"},
    ]
    rows = [annotation(1), incomplete, annotation(3, image_id=2), annotation(4, image_id=3)]
    read = open_dataset(coco(tmp_path, rows, images=images))
    told = " ".join(map(str, read.problems))
    for part in ("'image_id': 1", "sub\\2.png: no such picture", "a%20b.png: no such picture"):
        assert part in told
    assert "1 pictures that no JSON lists" in str(read.noted[0])
    assert read.balance.boxes == {"used": 1, "ignored": 0, "skipped": 3}


@pytest.mark.parametrize(("shape", "columns"), [("[4, 2]", 8), ("[2, 3]", 6), ("[17, 3]", 51)])
def test_pose_labels_give_their_boxes(tmp_path: Path, shape: str, columns: int) -> None:
    rows = [f"0 0.5 0.5 0.25 0.5{' 0.9' * columns}\n", ROW, f"0 0.5 0.5 0.25 0.5{' 0.9' * (columns - 2)}\n"]
    read = open_dataset(yolo(tmp_path, rows, kpt_shape=shape))
    np.testing.assert_array_equal(read.splits["train"][0].boxes, [[24, 12, 40, 36]])
    (problem,) = read.problems
    assert f"{columns + 3} columns" in str(problem)
    assert f"{columns} numbers of key points" in str(problem)


@pytest.mark.parametrize("shape", ["17", "[0, 2]", "[4]", "[4, 5]", "[true, 2]", "abc"])
def test_pose_shape_that_is_none(tmp_path: Path, shape: str) -> None:
    with pytest.raises(DataError, match=r"kpt_shape.*expected"):
        open_dataset(yolo(tmp_path, [ROW], kpt_shape=shape))


def test_turned_boxes_become_upright_ones(tmp_path: Path) -> None:
    (sample,) = open_dataset(yolo(tmp_path, ["1 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n"])).splits["train"]
    np.testing.assert_array_equal(sample.boxes, [[16, 12, 48, 36]])


def test_both_names_of_a_split(tmp_path: Path) -> None:
    data = yolo(tmp_path, [ROW], val="images/train", valid="images/valid")
    with pytest.raises(DataError, match="both `val` and `valid`"):
        open_dataset(data)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 20 * 2**30)


def in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


FILES = [
    "data.yaml",
    "train.txt",
    "labels/train/0.txt",
    "a.json",
    "Annotations/1.xml",
    "classes.txt",
    "images/train/0.png",
]


@pytest.mark.skipif(sys.platform == "win32", reason="special files are Unix's")
@pytest.mark.parametrize("make", [fifo, bound, endless, Path.mkdir, huge, in_a_circle])
@pytest.mark.parametrize("name", FILES)
def test_special_files_in_place_of_any_file(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    """In one line, and at once: nothing waits for a pipe, and nothing reads until memory ends."""
    if name == "a.json":
        coco(tmp_path, [annotation()])
    elif name in ("Annotations/1.xml", "classes.txt"):
        voc(tmp_path, voc_object("dent", 1, 1, 9, 9))
    else:
        yolo(tmp_path, [ROW], train="train.txt")
        place(tmp_path, "train.txt", b"images/train/0.png\n")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path / name if name in ("data.yaml", "a.json") else tmp_path)
    assert Path(name).name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["train.txt", "Annotations", "classes.txt"])
def test_texts_of_another_encoding(tmp_path: Path, name: str) -> None:
    if name == "train.txt":
        yolo(tmp_path, [ROW], train="train.txt")
        place(tmp_path, name, "images/train/0.png\n".encode("utf-16"))
    else:
        voc(tmp_path, voc_object("dent", 1, 1, 9, 9))
        place(tmp_path, "ImageSets/Main/train.txt" if name == "Annotations" else name, "1\n".encode("utf-16"))
    with pytest.raises(DataError, match="no text in UTF-8"):
        open_dataset(tmp_path)


def test_results_of_a_detector_are_no_annotations(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    place(tmp_path, "results.json", json.dumps([annotation(score=0.9)]).encode())
    with pytest.raises(DataError, match=r"no list `images`.*results of a detector"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("folder", ["Annotations", "JPEGImages"])
def test_voc_folders_that_leave(tmp_path: Path, folder: str) -> None:
    voc(tmp_path / "data", voc_object("dent", 1, 1, 9, 9))
    (tmp_path / "data" / folder).rename(tmp_path / "outside")
    (tmp_path / "data" / folder).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=r"1 reasons, the first: .*expected a (file inside it|picture)"):
        open_dataset(tmp_path / "data")


def test_voc_names_a_picture_outside(tmp_path: Path) -> None:
    picture(tmp_path / "outside.png")
    (tmp_path / "data/train").mkdir(parents=True)
    (tmp_path / "data/train/1.xml").write_text("<annotation><filename>../../outside.png</filename></annotation>")
    with pytest.raises(DataError, match=r"1 reasons, the first: .*outside\.png"):
        open_dataset(tmp_path / "data")
