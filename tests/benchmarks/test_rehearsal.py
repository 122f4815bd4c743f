"""What measures the camera measures it: the feed keeps its pace, and the programs run and write what they found."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from tests.streaming.build import draw_number, draw_squares, read_number, write_video
from vision_lora.benchmarks.camera import main as bench
from vision_lora.benchmarks.playback import Playback
from vision_lora.benchmarks.playback import main as playback
from vision_lora.benchmarks.rehearsal import live_feed
from vision_lora.benchmarks.soak import main as soak
from vision_lora.errors import ConfigError
from vision_lora.streaming.sources.address import read_address
from vision_lora.streaming.sources.feed import open_feed


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "belt.mp4", draw_squares(20))


def test_playback_is_a_camera_with_its_own_pace(tmp_path: Path) -> None:
    numbers = write_video(tmp_path / "numbers.avi", [draw_number(number) for number in range(40)])
    with live_feed(numbers, 20) as url:
        feed = open_feed(read_address(url), 5, lambda cause: None)
        began, seen = time.monotonic(), []
        for raw in feed:
            seen.append(read_number(raw.picture()))
            if time.monotonic() - began > 3:
                break
        feed.close()
    assert 35 <= len(seen) <= 70
    assert seen[0] < 5
    steps = [(after - before) % 40 for before, after in itertools.pairwise(seen)]
    assert set(steps) <= {1, 2, 3, 4}, "in order, again and again, without standing still"


def test_mistakes_of_playback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert playback([]) == 2
    assert playback(["--video", str(tmp_path / "gone.mp4")]) == 2
    assert "no such file" in capsys.readouterr().err
    taken = Playback([b""], 1, 0)
    with pytest.raises(ConfigError, match="--port"):
        Playback([b""], 1, taken.server.server_port)
    taken.server.server_close()


@pytest.mark.slow
def test_bench_measures_both_sides(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "yolov8n.yaml", "--imgsz", "64", "--video", str(video), "--turns", "2", "--seconds", "2"]
    assert bench([*words, "--json", str(tmp_path / "bench.json")]) == 0
    result = json.loads((tmp_path / "bench.json").read_text())
    assert len(result["overhead"]["ratios"]) == 2
    assert 0.1 < result["overhead"]["ratio"] < 3
    assert 10 <= result["latency"]["pictures"] <= 30
    assert 0 < result["latency"]["p50_ms"] <= result["latency"]["p99_ms"]
    assert "ratio" in capsys.readouterr().out


@pytest.mark.slow
def test_full_load_for_a_short_while_changes_nothing(video: Path, tmp_path: Path) -> None:
    """Half a minute of what the soak does for half an hour: memory, threads and files stay as they are."""
    words = ["--model", "yolov8n.yaml", "--imgsz", "64", "--video", str(video), "--fps", "60", "--minute", "5"]
    assert soak([*words, "--minutes", "5", "--json", str(tmp_path / "soak.json")]) in (0, 1)  # 1: latency alone
    result = json.loads((tmp_path / "soak.json").read_text())
    minutes = result["minutes"]
    assert len(minutes) == 5
    assert result["growth"] == pytest.approx(minutes[-1]["resident_mib"] / minutes[0]["resident_mib"] - 1)
    assert result["growth"] < 0.02
    assert minutes[-1]["threads"] == minutes[0]["threads"]
    assert abs(minutes[-1]["files"] - minutes[0]["files"]) <= 2  # a segment that is being written, or not
    assert minutes[-1]["fps"] > 1
