"""Annotated copies: in a format that takes the picture, each under a name of its own, never in place of a source."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.build import picture, small_disk, video
from vision_lora.errors import ConfigError, OutputError
from vision_lora.pictures.detections import Detections
from vision_lora.pictures.images import read_image
from vision_lora.streaming.files.sinks import AnnotatedFolder, copy_names
from vision_lora.streaming.sources.source import open_files

FOUND = Detections(np.array([[2, 2, 9, 9]], "f4"), np.ones(1, "f4"), np.array([0]), (os.fsdecode(b"a\xfc"),), 0)


def copies(source: Path, out: Path) -> tuple[list[str], list[str]]:
    """Names of the copies, and what was told."""
    out.mkdir(exist_ok=True)
    files = open_files(str(source))
    sink = AnnotatedFolder(out, files)
    for frame in files:
        sink.write(frame, FOUND)
    sink.close()
    return sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()), sink.problems


@pytest.mark.parametrize(
    ("name", "mode", "size", "copy"),
    [
        ("a.pgm", "L", (48, 32), "a.pgm.png"),
        ("a.gif", "P", (48, 32), "a.gif.png"),
        ("a.jpg", "CMYK", (48, 32), "a.jpg"),
        ("a.png", "I;16", (48, 32), "a.png"),
        ("a.png", "RGBA", (48, 32), "a.png"),
        ("a.PNG", "RGB", (1, 1), "a.PNG"),
        ("a.jfif", "RGB", (1, 70), "a.jfif.png"),
        ("a.tif", "1", (70, 1), "a.tif.png"),
    ],
)
def test_any_picture_gets_a_copy(tmp_path: Path, name: str, mode: str, size: tuple[int, int], copy: str) -> None:
    if mode == "I;16":
        from PIL import Image

        (tmp_path / "in").mkdir()
        Image.fromarray(np.full(size[::-1], 40_000, np.uint16)).save(tmp_path / "in" / name)
    else:
        picture(tmp_path / "in" / name, size, mode)
    made, told = copies(tmp_path / "in", tmp_path / "out")
    assert (made, told) == ([copy], [])
    assert read_image(tmp_path / "out" / copy).shape == (size[1], size[0], 3)


def test_two_sources_never_share_a_copy(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.pgm", "a.pgm.png", "b/a.jpg", "A.jpg"):
        picture(tmp_path / "in" / name)
    for name in ("a.avi", "a.mkv", "b/a.avi"):
        video(tmp_path / "in" / name)
    made, _ = copies(tmp_path / "in", tmp_path / "out")
    assert len(made) == 9
    assert {"a.png", "a.pgm.png", "b/a.jpg"} <= set(made)
    assert len({name.casefold() for name in made}) == 9


def test_names_that_cannot_be_read_get_copies_that_can(tmp_path: Path) -> None:
    for name in (b"K_\xfc.png", b"K_\xfd.png", b"line\nbreak.png", b"\xe4/a.png"):
        picture(tmp_path / "in" / os.fsdecode(name))
    video(tmp_path / "in" / os.fsdecode(b"Band_\xfc.avi"))
    made, _ = copies(tmp_path / "in", tmp_path / "out")
    assert made == ["Band__.avi.mp4", "K__-2.png", "K__.png", "_/a.png", "line_break.png"]


@pytest.mark.parametrize("name", ["x" * 251 + ".bmp", "x" * 251 + ".jpg", "痕" * 83 + ".bmp"])
def test_the_longest_names_have_room_for_an_ending(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "in" / name)
    made, _ = copies(tmp_path / "in", tmp_path / "out")
    assert len(made) == 1


def test_long_names_that_are_cut_stay_apart() -> None:
    names = ["x" * 250 + f"{end}.bmp" for end in "ab"]
    assert len(set(copy_names(names).values())) == 2
    assert all(len(name.encode()) <= 255 for name in copy_names(names).values())


def test_nothing_is_written_among_the_sources(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "sub" / "b.bmp")
    (tmp_path / "link").symlink_to(tmp_path)
    for source, out in ((".", "."), (".", "sub"), ("a.png", "."), ("sub", "sub"), ("a.png", "link")):
        with pytest.raises(ConfigError, match="give another folder"):
            AnnotatedFolder(tmp_path / out, open_files(str(tmp_path / source)))


def test_a_copy_never_takes_the_place_of_a_source_through_a_link(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "in" / "a.png")
    with pytest.raises(ConfigError, match="give another folder"):
        copies(tmp_path / "in", tmp_path / "out")


def test_a_video_that_no_mp4_takes_does_not_end_the_others(tmp_path: Path) -> None:
    video(tmp_path / "in" / "a.avi", size=(9000, 16))
    video(tmp_path / "in" / "b.mov", fps=2000, codec="mpeg4")
    picture(tmp_path / "in" / "c.png")
    made, told = copies(tmp_path / "in", tmp_path / "out")
    assert made == ["b.mov.mp4", "c.png"]
    assert len(told) == 2
    assert "no MP4 of 9000 x 16" in told[0]
    assert "1000 frames a second: no MP4 takes 2000" in told[1]


def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", (200, 200))
    with small_disk(2000), pytest.raises(OutputError, match=r"a\.png: cannot be written"):
        copies(tmp_path / "in", tmp_path / "out")
