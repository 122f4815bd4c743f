"""Sources: what a folder holds is read or told, and never waited for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.build import picture, video
from vision_lora.errors import DataError
from vision_lora.streaming.sources.source import open_files


def names(source: str | Path, **how: object) -> list[str]:
    return [frame.name for frame in open_files(str(source), **how)]


def test_every_ending_that_cameras_and_browsers_write_is_read(tmp_path: Path) -> None:
    kinds = ["a.jpg", "b.jfif", "c.gif", "d.pgm", "e.ppm", "f.tif", "g.webp", "h.bmp", "i.png"]
    for kind in kinds:
        picture(tmp_path / kind, mode="L" if kind == "d.pgm" else "RGB")
    assert names(tmp_path) == kinds


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name in ("notes.txt", "more.txt", "Thumbs.db", "README"):
        (tmp_path / name).touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    source = open_files(str(tmp_path))
    assert [frame.name for frame in source] == ["a.png"]
    assert source.problems == []
    assert source.left_out == [
        "1 links to folders, which are not followed",
        "4 files, no pictures or videos by their endings: 2 .txt, 1 .db, 1 no ending",
    ]


def test_pipes_and_devices_are_never_waited_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "nothing.mp4").symlink_to(tmp_path / "gone.mp4")
    source = open_files(str(tmp_path))
    assert [frame.name for frame in source] == ["a.png"]
    assert sorted(line.split(":")[0].rsplit("/", 1)[1] for line in source.left_out) == [
        "endless.png",
        "nothing.mp4",
        "pipe.jpg",
    ]
    for path, kind in ((tmp_path / "pipe.jpg", "a named pipe"), ("/dev/zero", "a device"), ("/gone", "no such file")):
        with pytest.raises(DataError, match=kind):
            open_files(str(path))


def test_results_are_never_sources(tmp_path: Path) -> None:
    for name in ("a.png", "out/a.png", "out-2/a.png", "outer/a.png"):
        picture(tmp_path / name)
    source = open_files(str(tmp_path), results=[tmp_path / "out", tmp_path / "out-2"])
    assert [frame.name for frame in source] == ["a.png", "outer/a.png"]
    assert sum("results are in it" in line for line in source.left_out) == 2
    assert names(tmp_path / "out", results=[tmp_path / "out"]) == ["a.png"]  # asked for by its own name


def test_pictures_and_frames_are_numbered_also_those_that_are_broken(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    video(tmp_path / "c.avi", 3)
    picture(tmp_path / "d.png")
    source = open_files(str(tmp_path))
    assert [(frame.name, frame.index, frame.image_id) for frame in source] == [
        ("a.png", None, 1),
        ("c.avi", 0, 3),
        ("c.avi", 1, 4),
        ("c.avi", 2, 5),
        ("d.png", None, 6),
    ]
    assert len(source.problems) == 1


def test_a_video_that_is_cut_off_is_a_problem_and_no_silence(tmp_path: Path) -> None:
    data = video(tmp_path / "a.avi", 30).read_bytes()
    (tmp_path / "a.avi").write_bytes(data[: len(data) // 2])
    source = open_files(str(tmp_path / "a.avi"))
    seen = len(list(source))
    assert source.problems == [f"{30 - seen} of the 30 frames of {tmp_path / 'a.avi'}, which cannot be decoded"]


def test_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"Kratzer_\xfc.png")
    picture(tmp_path / "a.png").rename(tmp_path / name)
    assert names(tmp_path) == [name]
    assert names(tmp_path / name) == [name]


def coco(tmp_path: Path, *images: object) -> Path:
    file = tmp_path / "instances.json"
    categories = [{"id": 7, "name": "scratch"}, {"id": 3, "name": "dent"}]
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return file


def test_a_coco_file_gives_pictures_their_ids(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "images" / "x" / "b.png")
    file = coco(tmp_path, {"id": 90, "file_name": "x/b.png"}, {"id": 4, "file_name": "a.png"})
    source = open_files(str(file))
    assert [(frame.name, frame.image_id) for frame in source] == [("x/b.png", 90), ("a.png", 4)]
    assert source.categories == {"scratch": 7, "dent": 3}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 4}, "expected an `id` of its own and a `file_name`"),
        ({"id": [4], "file_name": "a.png"}, "expected an `id`"),
        ({"id": 1, "file_name": "a.png"}, "expected an `id` of its own"),
        ({"id": 2, "file_name": "a\0.png"}, "expected an `id`"),
        ({"id": 2, "file_name": "../../etc/a.png"}, "leaves the dataset's folder"),
    ],
)
def test_a_coco_file_that_cannot_be_used_is_one_line(tmp_path: Path, image: object, message: str) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=message):
        open_files(str(coco(tmp_path, {"id": 1, "file_name": "a.png"}, image)))


def test_a_pipe_in_a_coco_file_is_not_waited_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    source = open_files(str(coco(tmp_path, {"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"})))
    assert [frame.image_id for frame in source] == [1]
    assert source.problems == [f"{tmp_path / 'b.png'}: a named pipe (FIFO); expected a picture"]
