"""The conveyor video and its tracks."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_lora.errors import OutputError
from vision_lora.rendering.video import FPS, HEIGHT, SPEED, WIDTH, Track, draw_line, take, write_video

FRAMES = 76


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short video of the demo's own strip."""
    folder = tmp_path_factory.mktemp("video") / "demo"
    write_video(folder, seed=0, frames=FRAMES)
    return folder


@pytest.fixture(scope="module")
def frames(folder: Path) -> list[np.ndarray]:
    """The frames as a player decodes them, grey."""
    capture = cv2.VideoCapture(str(folder / "conveyor.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == FPS
    found = []
    while True:
        there, picture = capture.read()
        if not there:
            break
        found.append(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    capture.release()
    return found


def test_track_is_cut_at_the_edges_of_the_picture() -> None:
    track = Track("dent", (WIDTH + 10, 50, WIDTH + 50, 80))
    assert track.box_in(0) is None
    assert track.box_in(1) is None
    assert track.box_in(2) == (WIDTH + 10 - 2 * SPEED, 50, WIDTH, 80)
    assert track.box_in(10) == (WIDTH + 10 - 10 * SPEED, 50, WIDTH + 50 - 10 * SPEED, 80)
    last = (WIDTH + 49) // SPEED
    assert track.box_in(last) == (0, 50, WIDTH + 50 - last * SPEED, 80)
    assert track.box_in(last + 1) is None


def test_video_is_playable_and_clean(folder: Path, frames: list[np.ndarray]) -> None:
    assert len(frames) == FRAMES
    assert frames[0].shape == (HEIGHT, WIDTH)
    assert sorted(file.name for file in folder.iterdir()) == ["conveyor.json", "conveyor.mp4"]


def test_tracks_follow_what_moves_in_the_video(folder: Path, frames: list[np.ndarray]) -> None:
    truth = json.loads((folder / "conveyor.json").read_text())
    assert truth["frames"] == FRAMES
    followed = 0
    for track in truth["tracks"]:
        whole = [row for row in track["boxes"] if row[1] > 20 and row[3] < WIDTH - 20 and row[4] - row[2] > 10]
        if len(whole) < 10:
            continue
        first, last = whole[0], whole[9]
        x1, y1, x2, y2 = (first[1] - 12, first[2] - 12, first[3] + 12, first[4] + 12)
        patch = frames[first[0]][y1:y2, x1:x2]
        match = cv2.matchTemplate(frames[last[0]], patch, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(match)
        assert score > 0.6
        assert (x + 12, y + 12) == (pytest.approx(last[1], abs=2), pytest.approx(last[2], abs=2))
        followed += 1
    assert followed >= 2


def test_frames_of_entering_and_leaving_are_those_of_the_boxes(folder: Path) -> None:
    tracks = json.loads((folder / "conveyor.json").read_text())["tracks"]
    assert tracks
    for track in tracks:
        numbers = [row[0] for row in track["boxes"]]
        assert numbers == list(range(track["enters"], numbers[-1] + 1))
        assert track["leaves"] in (numbers[-1] + 1, None)
        assert track["enters"] > 0  # the strip begins sound
        assert (track["leaves"] is None) == (numbers[-1] == FRAMES - 1)
        assert all(0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT for _, x1, y1, x2, y2 in track["boxes"])


def test_ten_seconds_show_every_class_twice() -> None:
    line = draw_line(0)
    assert line.strip.height.shape == (HEIGHT, WIDTH + SPEED * (10 * FPS - 1))
    kinds = [track.kind for track in line.tracks]
    assert len(kinds) == 12
    assert all(kinds.count(kind) == 2 for kind in set(kinds))
    assert len(set(kinds)) == 6
    assert all(26 < track.box[1] < track.box[3] < HEIGHT - 26 for track in line.tracks)  # on the strip, not the belt


def test_same_seed_same_frame() -> None:
    pictures = [take(draw_line(seed, 12), 11, np.random.default_rng(1)) for seed in (3, 3, 4)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_video_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"conveyor\.mp4"):
        write_video(tmp_path / "file", frames=2)
