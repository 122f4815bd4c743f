"""A power cut, fifty times: what was reported is kept, and nothing is reported twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.streaming.build import SquareFinder, running, write_video
from vision_lora.streaming.records.events import read_events

ROOT = Path(__file__).parents[2]


def crowded(count: int) -> list[np.ndarray]:
    """A belt on which a new square comes every eight pictures."""
    pictures = []
    for number in range(count):
        picture = np.full((120, 320, 3), 90, np.uint8)
        for square in range(count // 8):
            left = 4 * (number - 8 * square)
            if 0 <= left <= 290:
                picture[10 + 35 * (square % 3) : 35 + 35 * (square % 3), left : left + 25] = 235
        pictures.append(picture)
    return pictures


def test_a_camera_that_is_killed_fifty_times(tmp_path: Path) -> None:
    video = write_video(tmp_path / "belt.mp4", crowded(120))
    with running(SquareFinder(), source=[str(video)], events=str(tmp_path / "events.jsonl")) as at_work:
        assert at_work.end() == 0
    undisturbed = list(read_events(tmp_path / "events.jsonl"))
    folder = tmp_path / "killed"
    folder.mkdir()
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill_loop.py")), str(video), str(folder), "50"],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    killed = [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]

    def alarms(events: list[dict[str, object]]) -> list[object]:
        return [event["id"] for event in events if event["kind"] == "alarm"]

    assert len(alarms(undisturbed)) == 15
    assert sorted(map(str, alarms(killed))) == sorted(map(str, alarms(undisturbed)))
    written = [event["id"] for event in killed]
    assert len(written) == len(set(written))
    reported = (folder / "reported").read_text().split()
    assert set(reported) <= set(written)
    assert 1 < sum(event["kind"] == "started" for event in killed) <= 51
    for event in killed:
        if event["kind"] == "alarm":
            assert cv2.imread(str(folder / "crops" / str(event["crop"]))) is not None
