"""Malformed datasets, made by code: each is told in one line with file, place, what was found and what was expected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.datasets.build import annotation, coco, picture, voc, voc_object, yolo
from vision_lora.datasets import open_dataset
from vision_lora.errors import DataError

GOOD = "0 0.5 0.5 0.5 0.5\n"

# What YOLO labels can hold: the second line of a file is broken, the first and the last are sound.
LINES = {
    "class out of range": ("3 0.5 0.5 0.2 0.2", "class 3"),
    "class negative": ("-1 0.5 0.5 0.2 0.2", "class -1"),
    "class not whole": ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
    "class is a name": ("dent 0.5 0.5 0.2 0.2", "'dent 0.5 0.5 0.2 0.2', not all numbers"),
    "four columns": ("0 0.5 0.5 0.2", "4 columns"),
    "six columns": ("0 0.5 0.5 0.2 0.2 0.9", "6 columns"),
    "commas": ("0,0.5,0.5,0.2,0.2", "1 columns"),
    "not a number": ("0 nan 0.5 0.2 0.2", "not a number"),
    "infinite": ("0 inf 0.5 0.2 0.2", "not a number"),
    "negative width": ("0 0.5 0.5 -0.2 0.2", "width -0.2"),
    "no height": ("0 0.5 0.5 0.2 0", "height 0"),
    "outside": ("0 1.5 0.5 0.2 0.2", "entirely outside"),
    "pixels instead of shares": ("0 32 24 10 10", "entirely outside"),
    "polygon without area": ("0 0.1 0.1 0.5 0.1 0.9 0.1", "without area"),
}


@pytest.mark.parametrize(("line", "found"), LINES.values(), ids=LINES)
def test_label_lines(tmp_path: Path, line: str, found: str) -> None:
    data = yolo(tmp_path, [f"{GOOD}{line}\n{GOOD}"])
    (sample,) = open_dataset(data).splits["train"]
    (problem,) = open_dataset(data).problems
    assert len(sample.boxes) == 2, "the sound boxes stay"
    assert problem.where == "line 2"
    assert_one_line(str(problem), "0.txt, line 2", found, "expected a class of 0 to 2")
    with pytest.raises(DataError, match="line 2"):
        open_dataset(data, strict=True)


# What COCO annotations can hold.
ANNOTATIONS: dict[str, tuple[object, str]] = {
    "unknown picture": (annotation(image_id=9), "image_id 9"),
    "unknown category": (annotation(category_id=4), "category_id 4"),
    "three numbers": (annotation(bbox=[1, 2, 3]), "bbox [1, 2, 3]"),
    "text": (annotation(bbox="1 2 3 4"), "bbox '1 2 3 4'"),
    "text inside": (annotation(bbox=[1, 2, 3, "4"]), "bbox"),
    "no box": (annotation(bbox=None), "bbox None"),
    "number without bounds": (annotation(bbox=[10**400, 4, 10, 10]), "bbox [1000"),
    "negative width": (annotation(bbox=[4, 4, -2, 5]), "without area"),
    "outside": (annotation(bbox=[64, 4, 10, 10]), "entirely outside"),
    "not a number": (annotation(bbox=[float("nan"), 4, 10, 10]), "not a number"),
    "broken mask": (annotation(bbox=[], segmentation={"size": [48, 64], "counts": [1, 2]}), "do not fill"),
    "half a point": (annotation(bbox=[], segmentation=[[1, 2, 3, 4, 5]]), "half a point"),
    "mask of garbage": (annotation(bbox=[], segmentation={"size": [48, 64], "counts": "\u00ff"}), "not a mask"),
}


@pytest.mark.parametrize(("broken", "found"), ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_annotations(tmp_path: Path, broken: object, found: str) -> None:
    data = coco(tmp_path, [annotation(1), broken, annotation(2)])
    dataset = open_dataset(data)
    (problem,) = dataset.problems
    assert len(dataset.splits["train"][0].boxes) == 2, "the sound boxes stay"
    assert_one_line(str(problem), "a.json, annotation 17", found, "expected ")
    with pytest.raises(DataError, match="annotation 17"):
        open_dataset(data, strict=True)


# What VOC files can hold.
OBJECTS = {
    "text": (voc_object("dent", 1, 2, 3, 4).replace("<xmin>1<", "<xmin>one<"), "'one'"),
    "no box": ("<object><name>dent</name></object>", "None"),
    "no name": (voc_object("", 1, 2, 30, 40), "no name"),
    "corners swapped": (voc_object("dent", 30, 2, 3, 40), "without area"),
    "outside": (voc_object("dent", 70, 2, 90, 40), "entirely outside"),
}


@pytest.mark.parametrize(("broken", "found"), OBJECTS.values(), ids=OBJECTS)
def test_objects(tmp_path: Path, broken: str, found: str) -> None:
    data = voc(tmp_path, voc_object("scratch", 1, 1, 10, 10) + broken)
    dataset = open_dataset(data)
    (problem,) = dataset.problems
    assert len(dataset.splits["train"][0].boxes) == 1, "the sound box stays"
    assert_one_line(str(problem), "1.xml, object ", found, "expected ")


def truncated(root: Path) -> Path:
    data = yolo(root, [GOOD, GOOD])
    whole = picture(root / "whole.jpg", 200, 200).read_bytes()
    (root / "images/train/1.png").unlink()
    (root / "images/train/1.jpg").write_bytes(whole[: len(whole) // 2])
    return data


def truncated_png(root: Path) -> Path:
    data = yolo(root, [GOOD, GOOD])
    cut = root / "images/train/1.png"
    cut.write_bytes(cut.read_bytes()[:-400])
    return data


def empty_picture(root: Path) -> Path:
    data = yolo(root, [GOOD, GOOD])
    (root / "images/train/1.png").write_bytes(b"")
    return data


def text_as_picture(root: Path) -> Path:
    data = yolo(root, [GOOD, GOOD])
    (root / "images/train/1.png").write_text("<html>not found</html>")
    return data


def bomb(root: Path) -> Path:
    """A few hundred kilobytes that declare 400 megapixels."""
    data = yolo(root, [GOOD, GOOD])
    Image.new("1", (20_000, 20_000)).save(root / "images/train/1.png")
    return data


def binary_label(root: Path) -> Path:
    data = yolo(root, [GOOD, GOOD])
    (root / "labels/train/1.txt").write_bytes(b"\xff\xfe\x00\x01")
    return data


def link_out(root: Path) -> Path:
    data = yolo(root, [GOOD])
    outside = picture(root.parent / f"{root.name}_outside" / "1.png")
    (root / "images/train/1.png").symlink_to(outside)
    return data


def label_link_out(root: Path) -> Path:
    data = yolo(root, [GOOD, GOOD])
    outside = root.parent / f"{root.name}_secret.txt"
    outside.write_text(GOOD)
    (root / "labels/train/1.txt").unlink()
    (root / "labels/train/1.txt").symlink_to(outside)
    return data


def folder_link(root: Path) -> Path:
    data = yolo(root, [GOOD])
    picture(root.parent / f"{root.name}_outside" / "1.png")
    (root / "images/train/more").symlink_to(root.parent / f"{root.name}_outside")
    return data


def list_leaves(root: Path) -> Path:
    data = yolo(root, [GOOD], train="train.txt")
    (root / "train.txt").write_text("images/train/0.png\n../../etc/passwd.png\n")
    return data


def list_names_missing(root: Path) -> Path:
    data = yolo(root, [GOOD], train="train.txt")
    (root / "train.txt").write_text("./images/train/0.png\n./images/train/9.png\n")
    return data


def coco_leaves(root: Path) -> Path:
    picture(root.parent / f"{root.name}_outside" / "1.png")
    images = [
        {"id": 1, "file_name": "1.png", "width": 64, "height": 48},
        {"id": 2, "file_name": f"../{root.name}_outside/1.png", "width": 64, "height": 48},
    ]
    return coco(root, [annotation(1)], images=images)


def coco_wrong_size(root: Path) -> Path:
    images = [
        {"id": 1, "file_name": "1.png", "width": 64, "height": 48},
        {"id": 2, "file_name": "2.png", "width": 640, "height": 480},
    ]
    return coco(root, [annotation(1)], images=images)


def coco_same_id(root: Path) -> Path:
    images = [{"id": 1, "file_name": f"{name}.png", "width": 64, "height": 48} for name in (1, 2)]
    return coco(root, [annotation(1)], images=images)


def coco_odd_image(root: Path) -> Path:
    return coco(root, [annotation(1)], images=[{"id": 1, "file_name": "1.png"}, "2.png"])


def voc_broken_xml(root: Path) -> Path:
    voc(root, voc_object("dent", 1, 1, 9, 9))
    (root / "Annotations/2.xml").write_text("<annotation><object>")
    return root


def voc_entities(root: Path) -> Path:
    """Billion laughs, as XML."""
    voc(root, voc_object("dent", 1, 1, 9, 9))
    laughs = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    (root / "Annotations/2.xml").write_text(f'<!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]><annotation>&a9;</annotation>')
    return root


def voc_other_xml(root: Path) -> Path:
    voc(root, voc_object("dent", 1, 1, 9, 9))
    (root / "Annotations/2.xml").write_text("<svg></svg>")
    return root


def voc_no_picture(root: Path) -> Path:
    voc(root, voc_object("dent", 1, 1, 9, 9))
    (root / "Annotations/2.xml").write_text("<annotation><filename>2.png</filename></annotation>")
    return root


FILES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "truncated JPEG": (truncated, "1.jpg", "unreadable picture"),
    "truncated PNG": (truncated_png, "1.png", "unreadable picture"),
    "empty picture": (empty_picture, "1.png", "unreadable picture"),
    "text as picture": (text_as_picture, "1.png", "unreadable picture"),
    "decompression bomb": (bomb, "1.png", "declares"),
    "label of bytes": (binary_label, "1.txt", "no text"),
    "picture links out": (link_out, "1.png", "a link to"),
    "label links out": (label_link_out, "1.txt", "leaves the dataset's folder"),
    "folder is a link": (folder_link, "more", "a link to a folder"),
    "list leaves": (list_leaves, "train.txt, line 2", "leaves the dataset's folder"),
    "list names a missing picture": (list_names_missing, "9.png", "no such picture"),
    "COCO leaves": (coco_leaves, "a.json, image 2", "leaves"),
    "COCO states another size": (coco_wrong_size, "a.json, image 2", "size 640 x 480"),
    "COCO has an id twice": (coco_same_id, "a.json, image 1", "an id that another picture has"),
    "COCO image is no mapping": (coco_odd_image, "a.json, images", "'2.png'"),
    "XML cut off": (voc_broken_xml, "2.xml", "broken XML"),
    "XML entities": (voc_entities, "2.xml", "entity declaration"),
    "XML of something else": (voc_other_xml, "2.xml", "<svg>"),
    "XML without picture": (voc_no_picture, "2.xml", "filename '2.png'"),
}


@pytest.mark.parametrize(("make", "place", "found"), FILES.values(), ids=FILES)
def test_files(tmp_path: Path, make: Callable[[Path], Path], place: str, found: str) -> None:
    data = make(tmp_path / "data")
    dataset = open_dataset(data)
    (problem,) = dataset.problems
    assert dataset.splits["train"], "the sound pictures stay"
    assert_one_line(str(problem), place, found, "expected ")
    with pytest.raises(DataError, match=r"expected"):
        open_dataset(data, strict=True)


def absolute(path: str) -> Callable[[Path], Path]:
    return lambda root: root / path


def with_yaml(text: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        data = yolo(root)
        data.write_text(text)
        return data

    return make


def no_labels(root: Path) -> Path:
    data = yolo(root)
    for label in (root / "labels/train").iterdir():
        label.unlink()
    return data


def broken_json(text: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        root.mkdir()
        (root / "a.json").write_text(text)
        return root / "a.json"

    return make


def two_jsons(root: Path) -> Path:
    coco(root)
    (root / "b.json").write_text((root / "a.json").read_text())
    return root


def split_leaves(root: Path) -> Path:
    yolo(root.parent / "other")
    return yolo(root, train="../other/images/train")


def empty_folder(root: Path) -> Path:
    root.mkdir()
    return root


def only_broken(root: Path) -> Path:
    data = yolo(root, [GOOD])
    (root / "images/train/0.png").write_bytes(b"")
    return data


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(9)
)
CATEGORY = [{"id": 1, "name": "dent"}, {"id": 1, "name": "stain"}]

FATAL: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (absolute("nowhere"), "no such file"),
    "empty folder": (empty_folder, "nothing recognised"),
    "yaml without names": (with_yaml("train: images/train\n"), "no `names`"),
    "yaml with a gap in names": (with_yaml("train: images/train\nnames: {0: a, 2: b}\n"), "expected 0 to 1"),
    "yaml with a name twice": (with_yaml("train: images/train\nnames: [a, a]\n"), "stands twice"),
    "yaml without split": (with_yaml("names: [a]\n"), "no split"),
    "yaml names a missing folder": (with_yaml("train: pictures\nnames: [a]\n"), "does not exist"),
    "yaml names a missing root": (with_yaml("path: away\ntrain: images\nnames: [a]\n"), "is no folder"),
    "yaml names a folder too long": (with_yaml(f"train: {'x' * 5000}\nnames: [a]\n"), "does not exist"),
    "yaml root too long": (with_yaml(f"path: {'x' * 5000}\ntrain: a\nnames: [a]\n"), "is no folder"),
    "COCO file name too long": (
        lambda root: coco(root, images=[{"id": 1, "file_name": "x" * 5000}]),
        "is in none of",
    ),
    "yaml split is a number": (with_yaml("train: 3\nnames: [a]\n"), "holds 3"),
    "yaml is a list": (with_yaml("- a\n- b\n"), "holds a list"),
    "yaml is broken": (with_yaml("names: [a\ntrain: b\n"), "line 2"),
    "yaml tag": (with_yaml("names: !!python/object/apply:os.system [ls]\n"), "could not determine a constructor"),
    "yaml billion laughs": (with_yaml(LAUGHS), "alias"),
    "yaml nested too deep": (with_yaml("names: " + "[" * 5000), "nested too deep"),
    "split leaves the folder": (split_leaves, "leaves the dataset's folder"),
    "no labels at all": (no_labels, "none of the 2 pictures has a label file"),
    "only broken pictures": (only_broken, "no usable picture"),
    "JSON cut off": (broken_json('{"images": ['), "not JSON"),
    "JSON nested too deep": (broken_json("[" * 100_000), "not JSON"),
    "JSON of something else": (broken_json("[1, 2]"), "no list `images`"),
    "COCO without pictures": (
        broken_json('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}'),
        "no picture",
    ),
    "COCO without categories": (
        broken_json('{"images": [], "annotations": [], "categories": []}'),
        "`categories` is empty",
    ),
    "COCO category twice": (lambda root: coco(root, categories=CATEGORY), "stands twice"),
    "two JSON files for a split": (two_jsons, "both `train`"),
}


@pytest.mark.parametrize(("make", "found"), FATAL.values(), ids=FATAL)
def test_fatal(tmp_path: Path, make: Callable[[Path], Path], found: str) -> None:
    with pytest.raises(DataError) as error:
        open_dataset(make(tmp_path / "data"))
    assert_one_line(str(error.value), str(tmp_path), found, "expected")


def test_at_least_forty_cases() -> None:
    assert len(LINES) + len(ANNOTATIONS) + len(OBJECTS) + len(FILES) + len(FATAL) >= 40


def test_nothing_vanishes_from_a_mixed_file(tmp_path: Path) -> None:
    """Boxes that went in come out as boxes, ignored regions or problems."""
    rows = [annotation(1), annotation(2, iscrowd=1), annotation(3, bbox=[1, 1, 0, 0]), annotation(4, ignore=1)]
    dataset = open_dataset(coco(tmp_path, rows))
    sample = dataset.splits["train"][0]
    assert (len(sample.boxes), len(sample.ignored), len(dataset.problems)) == (1, 2, 1)


def test_the_log_says_how_many_were_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_dataset(yolo(tmp_path, [f"{GOOD}9 0.5 0.5 0.2 0.2\n8 0.5 0.5 0.2 0.2\n"]))
    assert "skipped 2 broken" in caplog.text
    assert "line 2" in caplog.text


def test_json_written_by_python_keeps_nan_out(tmp_path: Path) -> None:
    """Python writes NaN into JSON, against the standard; it must not come through as a box."""
    data = coco(tmp_path, [annotation(bbox=[1, 1, float("nan"), 4])])
    assert "NaN" in data.read_text()
    assert json.loads(data.read_text())
    assert not len(open_dataset(data).splits["train"][0].boxes)


def assert_one_line(message: str, *parts: str) -> None:
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"
