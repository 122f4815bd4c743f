"""Videos: every frame that can be read is, the others are counted; what is written is whole or told."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.build import small_disk, video
from vision_lora.errors import DataError, FormatError, OutputError
from vision_lora.pictures.videos import Video, VideoFile, writable_rate


def read(path: Path) -> tuple[Video, list[int]]:
    source = Video(path)
    return source, [index for index, _ in source]


def written(path: Path, *pictures: tuple[int, int], fps: float = 10.0) -> list[tuple[int, ...]]:
    """Shapes of the frames of a video that was written with pictures of these sizes, width and height."""
    with VideoFile(path, fps) as file:
        for width, height in pictures:
            file.write(np.full((height, width, 3), 90, np.uint8))
    return [frame.shape for _, frame in Video(path)]


def test_frames_behind_a_broken_stretch_are_read_and_the_broken_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "line.avi", 40)
    data = bytearray(path.read_bytes())
    frames = [place for place in range(len(data)) if data[place : place + 4] == b"00dc" and data[place + 8] == 0xFF]
    for place in frames[10:14]:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        data[place + 8 : place + 8 + size] = bytes(size)
    path.write_bytes(data)
    source, indices = read(path)
    assert (source.frames, source.broken) == (40, 4)
    assert indices == [*range(10), *range(14, 40)]


@pytest.mark.parametrize("ending", ["avi", "mkv"])
def test_frames_that_are_cut_off_are_counted(tmp_path: Path, ending: str) -> None:
    path = video(tmp_path / f"line.{ending}", 40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source, indices = read(path)
    assert 5 < len(indices) < 35
    assert (source.frames, source.broken) == (40, 40 - len(indices))


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "mpeg4"), ("mkv", "mpeg4"), ("mpg", "mpeg1video"), ("mov", "mpeg4")]
)
def test_a_sound_video_has_no_broken_frames(tmp_path: Path, ending: str, codec: str) -> None:
    path = tmp_path / f"line.{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    source, indices = read(path)
    assert (source.frames, source.broken, indices) == (12, 0, list(range(12)))


def test_a_number_that_is_guessed_from_the_duration_is_not_believed(tmp_path: Path) -> None:
    """Matroska counts no frames, and a phone's come at uneven times."""
    path = tmp_path / "phone.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index * 300 + index % 3 * 90, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source, indices = read(path)
    assert len(indices) == source.frames == 10
    assert source.broken == 0


@pytest.mark.parametrize("name", [b"Band_\xfc.avi", b"p%02d.avi", b"rtsp:..avi", "压延.avi".encode()])
def test_names_are_no_syntax_for_opencv(tmp_path: Path, name: bytes) -> None:
    path = video(tmp_path / "a.avi").rename(tmp_path / os.fsdecode(name))
    assert read(path)[1] == [0, 1, 2, 3]


@pytest.mark.parametrize("data", [b"", b"no video", bytes(5000)])
def test_what_is_no_video_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.mp4: not a readable video"):
        read(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "gone.mp4")


@pytest.mark.parametrize("fps", [211.222, 0.0001, 90000.0, 1000.0, 119.88, 23.976, 65.432, 14.985, float("inf")])
def test_any_rate_is_written_as_near_as_the_format_takes(tmp_path: Path, fps: float) -> None:
    assert len(written(tmp_path / "a.mp4", (32, 32), (32, 32), fps=fps)) == 2
    source, _ = read(tmp_path / "a.mp4")
    assert source.fps == pytest.approx(writable_rate(fps), rel=1e-4)
    assert writable_rate(fps) == pytest.approx(min(max(fps, 0.01), 1000.0), rel=1e-3)


@pytest.mark.parametrize(
    ("size", "even"), [((1, 1), (2, 2)), ((1, 50), (2, 50)), ((65, 49), (66, 50)), ((7, 8), (8, 8))]
)
def test_odd_sizes_lose_nothing(tmp_path: Path, size: tuple[int, int], even: tuple[int, int]) -> None:
    assert written(tmp_path / "a.mp4", size, size) == [(even[1], even[0], 3)] * 2


def test_a_frame_of_another_size_is_not_left_out(tmp_path: Path) -> None:
    assert written(tmp_path / "a.mp4", (64, 48), (32, 24), (128, 96)) == [(48, 64, 3)] * 3


def test_a_size_that_no_mp4_has_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no MP4 of 9000 x 16"):
        written(tmp_path / "a.mp4", (9000, 16))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_told(tmp_path: Path) -> None:
    """OpenCV itself says nothing."""
    rng = np.random.default_rng(0)
    file = VideoFile(tmp_path / "a.mp4", 10)
    with small_disk(20_000):
        for _ in range(20):
            file.write(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
        with pytest.raises(OutputError, match="cannot be written whole"):
            file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_no_matter_of_the_format(tmp_path: Path) -> None:
    with small_disk(100), pytest.raises(OutputError, match="File too large") as told:
        written(tmp_path / "a.mp4", (32, 32))
    assert not isinstance(told.value, FormatError)
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_video(tmp_path: Path) -> None:
    def stopped() -> None:
        with VideoFile(tmp_path / "a.mp4", 10) as file:
            file.write(np.zeros((32, 32, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_no_utf8_takes_videos(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"Pr\xfcfung")
    folder.mkdir()
    assert len(written(folder / "a.mp4", (32, 32))) == 1
    assert [file.name for file in folder.iterdir()] == ["a.mp4"]
