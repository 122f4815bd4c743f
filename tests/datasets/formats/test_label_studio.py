"""Label Studio's exports: YOLO without a yaml, and both kinds of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.build import picture, yolo
from vision_lora.datasets import open_dataset
from vision_lora.errors import DataError


def region(label: str = "dent", x: float = 25, y: float = 50, rotation: float = 0, **more: Any) -> dict[str, Any]:
    """A rectangle of half the picture's size, in per cent, as the short export has it."""
    box = {"x": x, "y": y, "width": 50, "height": 25, "rotation": rotation, "rectanglelabels": [label]}
    return box | {"original_width": 64, "original_height": 48} | more


def whole(*regions: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-1.png", **more: Any) -> dict[str, Any]:
    """A task of the whole export."""
    result = [
        {"type": "rectanglelabels", "original_width": each["original_width"], "original_height": 48, "value": each}
        for each in regions
    ]
    return {"id": 5, "data": {"text": "note", "image": image}, "annotations": [{"result": result} | more]}


def export(root: Path, *tasks: dict[str, Any], name: str = "1.png") -> Path:
    picture(root / "images" / name)
    (root / "project-1.json").write_text(json.dumps(tasks))
    return root


ADDRESSES = {
    "upload": ("/data/upload/1/0a1b2c3d-1.png", "0a1b2c3d-1.png"),
    "upload, own name": ("/data/upload/1/0a1b2c3d-1.png", "1.png"),
    "local files": ("/data/local-files/?d=line%203/1.png", "line 3/1.png"),
    "local files, Windows": ("/data/local-files/?d=line3\\1.png", "1.png"),
    "bucket": ("s3://bucket/line3/1.png", "1.png"),
    "web": ("https://example.org/a/1%20b.png?key=5", "1 b.png"),
}


@pytest.mark.parametrize(("address", "name"), ADDRESSES.values(), ids=ADDRESSES)
def test_pictures_by_any_address(tmp_path: Path, address: str, name: str) -> None:
    data = open_dataset(export(tmp_path, whole(region(), image=address), name=name))
    assert data.names == ("dent",)
    np.testing.assert_array_equal(data.splits["train"][0].boxes, [[16, 24, 48, 36]])


def test_the_short_export(tmp_path: Path) -> None:
    task = {
        "id": 1,
        "image": "/data/upload/1/0a1b2c3d-1.png",
        "label": [region("stain"), region("dent")],
        "annotator": 1,
    }
    data = open_dataset(export(tmp_path, task) / "project-1.json")
    assert data.names == ("dent", "stain")
    assert data.splits["train"][0].classes.tolist() == [1, 0]
    assert not data.problems


def test_polygons_and_turned_rectangles(tmp_path: Path) -> None:
    polygon = {"points": [[25, 25], [75, 25], [50, 75]], "polygonlabels": ["dent"], "original_width": 64}
    quarter = region(x=50, y=25, rotation=90)  # 32 x 12 pixels, turned about (32, 12): to the left and down
    data = open_dataset(export(tmp_path, whole(polygon, quarter)))
    np.testing.assert_allclose(data.splits["train"][0].boxes, [[16, 12, 48, 36], [20, 12, 32, 44]], atol=1e-4)


def test_what_it_cannot_take_is_told(tmp_path: Path) -> None:
    tasks = [
        whole(region(), region(rectanglelabels=[]), region("dent", rectanglelabels=["a", "b"])),
        whole(region(), image="/data/upload/1/gone.png"),
        whole(region(original_width=640), image="/data/upload/1/2.png"),
        whole(region(), was_cancelled=True, image="/data/upload/1/3.png"),
        whole(
            {"format": "rle", "rle": [1], "brushlabels": ["dent"], "original_width": 64}, image="/data/upload/1/4.png"
        ),
    ]
    for name in "234":
        picture(tmp_path / f"images/{name}.png")
    data = open_dataset(export(tmp_path, *tasks))
    told = "\n".join(map(str, data.problems))
    for part in ("label None", "picture '/data/upload/1/gone.png'", "size 640 x 48", "brushlabels"):
        assert part in told
    assert "3.png: a picture without annotation" in str(data.noted[0])
    assert data.balance.boxes == {"used": 1, "ignored": 0, "skipped": 5}
    assert data.balance.lost == (0, 0)


def test_of_two_annotations_the_first_counts(tmp_path: Path) -> None:
    task = whole(region())
    task["annotations"] *= 2
    data = open_dataset(export(tmp_path, task))
    assert len(data.splits["train"][0].boxes) == 1
    assert "another annotation" in str(data.problems[0])
    assert data.balance.lost == (0, 0)


def test_answers_about_the_whole_picture_are_no_regions(tmp_path: Path) -> None:
    task = whole(region())
    task["annotations"][0]["result"].append({"type": "choices", "value": {"choices": ["bad"]}})
    assert not open_dataset(export(tmp_path, task)).problems


@pytest.mark.parametrize("listed", ["classes.txt", "notes.json"])
def test_the_yolo_export_needs_no_yaml(tmp_path: Path, listed: str) -> None:
    yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n", "1 0.5 0.5 0.25 0.25\n"]).unlink()
    (tmp_path / "classes.txt").write_text("scratch\ndent\n")
    categories = [{"id": 1, "name": "dent"}, {"id": 0, "name": "scratch"}]
    (tmp_path / "notes.json").write_text(json.dumps({"categories": categories, "info": {}}))
    for name in {"classes.txt", "notes.json"} - {listed}:
        (tmp_path / name).unlink()
    for kind in ("images", "labels"):  # Label Studio writes no folders for splits
        for file in (tmp_path / kind / "train").iterdir():
            file.rename(tmp_path / kind / f"0a1b2c3d-{file.name}")
        (tmp_path / kind / "train").rmdir()
    data = open_dataset(tmp_path)
    assert data.names == ("scratch", "dent")
    assert [sample.classes.tolist() for sample in data.splits["train"]] == [[0], [1]]
    assert not data.noted


def test_the_yolo_export_with_folders_for_splits(tmp_path: Path) -> None:
    yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n"]).unlink()
    (tmp_path / "classes.txt").write_text("scratch\n")
    picture(tmp_path / "images/val/9.png")
    (tmp_path / "labels/val").mkdir()
    (tmp_path / "labels/val/9.txt").write_text("")
    assert {split: len(found) for split, found in open_dataset(tmp_path).splits.items()} == {"train": 1, "val": 1}


def test_notes_beside_coco_are_not_annotations(tmp_path: Path) -> None:
    data = export(tmp_path, whole(region()))
    (tmp_path / "notes.json").write_text('{"categories": []}')
    assert len(open_dataset(data).splits["train"]) == 1


@pytest.mark.parametrize("text", ["{}", '{"categories": [{"id": 0}]}', '{"categories": 5}', "[", "[1]"])
def test_notes_without_names(tmp_path: Path, text: str) -> None:
    yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n"]).unlink()
    (tmp_path / "notes.json").write_text(text)
    with pytest.raises(DataError, match=r"notes\.json: no .?names"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("task", [1, {}, {"data": {}}, {"data": {"image": 5}}, {"id": 1, "text": "a"}])
def test_lists_of_something_else(tmp_path: Path, task: Any) -> None:
    with pytest.raises(DataError, match="entry 1 is no task"):
        open_dataset(export(tmp_path, task))


def test_exports_with_anything_anywhere(tmp_path: Path) -> None:
    """A dataset or a DataError of one line, never another exception."""
    odd: list[Any] = [None, -1, 10**400, float("nan"), "", "\0", [], {}, [[1]], {"x": {}}, "x" * 5000]
    for key in ("x", "width", "rotation", "rectanglelabels", "original_width", "image_rotation", "points"):
        for value in odd:
            check_one(tmp_path, whole(region() | {key: value}))
    for key in ("id", "data", "annotations"):
        for value in odd:
            check_one(tmp_path, whole(region()) | {key: value})


def check_one(root: Path, task: dict[str, Any]) -> None:
    try:
        data = open_dataset(export(root, task, whole(region())))
    except DataError as error:
        told = str(error)
    else:
        told = "".join(map(str, data.problems))
        assert data.balance.lost == (0, 0)
        assert np.isfinite(data.splits["train"][0].boxes).all()
    assert "\n" not in told
