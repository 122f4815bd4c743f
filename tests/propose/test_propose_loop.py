"""The loop of docs/evaluating.md on the demo's conveyor: train, collect, propose, go on, switch the running camera."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.streaming.build import MjpegServer, results_of, running, wait_until
from vision_lora.datasets.write import yolo_labels, yolo_yaml
from vision_lora.detectors.load import load_base
from vision_lora.pictures.images import read_image, write_picture
from vision_lora.propose.__main__ import main as propose
from vision_lora.rendering.video import HEIGHT, WIDTH, Line, draw_line, take
from vision_lora.rendering.write import NAMES
from vision_lora.streaming.records import telling
from vision_lora.system.outputs import write_text
from vision_lora.train import main as train

FRAMES = range(60, 90)  # the first of them shows the first defects
SMALL = ["--model", "starter", "--imgsz", "96", "--epochs", "1", "--draws", "0", "--workers", "0", "--batch", "4"]
SMALL += ["--device", "cpu", "--threads", "1", "--placement", "head"]


@pytest.fixture(scope="module")
def line() -> Line:
    return draw_line(0, FRAMES.stop)


@pytest.fixture(scope="module")
def frames(line: Line) -> list[NDArray[np.uint8]]:
    return [take(line, number, np.random.default_rng(number)) for number in FRAMES]


def label(line: Line, number: int, file: Path) -> None:
    """What a person draws: where the defects are in a frame."""
    seen = [(NAMES.index(track.kind), box) for track in line.tracks if (box := track.box_in(number)) is not None]
    boxes = np.array([box for _, box in seen], np.float32).reshape(-1, 4)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, yolo_labels(boxes, np.array([kind for kind, _ in seen], np.int64), WIDTH, HEIGHT))


@pytest.mark.slow
def test_the_loop_closes(
    line: Line,
    frames: list[NDArray[np.uint8]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(telling, "EVERY", 0.1)  # or it would take a minute
    monkeypatch.setattr(telling, "RANDOM", 0.2)
    for place in range(0, 12, 2):
        split = "val" if place > 6 else "train"
        (tmp_path / "images" / split).mkdir(parents=True, exist_ok=True)
        write_picture(tmp_path / "images" / split / f"{place}.png", frames[place])
        label(line, FRAMES[place], tmp_path / "labels" / split / f"{place}.txt")
    write_text(tmp_path / "data.yaml", yolo_yaml({"train": "images/train", "val": "images/val"}, NAMES))
    assert train(["--data", str(tmp_path / "data.yaml"), "--out", str(tmp_path / "first"), *SMALL]) == 0

    adapters = tmp_path / "adapters"
    adapters.mkdir()
    adapter = Path(shutil.copy(tmp_path / "first" / "adapter.safetensors", adapters / "first.safetensors"))
    results = results_of(monkeypatch)
    with (
        MjpegServer(lambda number: frames[number % len(frames)], fps=5) as server,
        running(
            load_base("starter"),
            source=[{"url": server.url, "name": "belt"}],
            adapter=str(adapter),
            adapters=str(adapters),
            collect=str(tmp_path / "collected"),
        ) as at_work,
    ):
        wait_until(lambda: len(list((tmp_path / "collected").iterdir())) >= 6, 20)
        todo = tmp_path / "todo"
        words = ["--adapter", adapter, "--source", tmp_path / "collected", "--data", tmp_path / "data.yaml"]
        assert propose([str(word) for word in (*words, "--out", todo, "--count", 3, "--device", "cpu")]) == 0
        pictures = sorted((todo / "images" / "train").iterdir())
        assert pictures
        shown = [_number(read_image(picture), frames) for picture in pictures]
        assert len(set(shown)) == len(shown), "near-copies are proposed once"
        for picture, number in zip(pictures, shown, strict=True):
            label(line, number, todo / "labels" / "train" / f"{picture.stem}.txt")

        text = (tmp_path / "data.yaml").read_text()
        both = text.replace('train: "images/train"', 'train: ["images/train", "todo/images/train"]')
        (tmp_path / "data.yaml").write_text(both)
        words = ["--data", tmp_path / "data.yaml", "--on", adapter, "--out", tmp_path / "second"]
        assert train([*map(str, words), *SMALL]) == 0
        with (tmp_path / "second" / "results.csv").open() as rows:
            assert len(list(csv.DictReader(rows))) == 1
        assert f"train {4 + len(pictures)} pictures" in capsys.readouterr().out

        shutil.copy(tmp_path / "second" / "adapter.safetensors", adapters / "second.safetensors")
        at_work.service.change("belt", adapter="second")
        wait_until(lambda: results[-1].choice.adapter == "second", 20)
        assert at_work.service.health() == "ok"


def _number(picture: NDArray[np.uint8], frames: list[NDArray[np.uint8]]) -> int:
    """Which frame a collected picture is."""
    apart = [np.abs(picture.astype(np.int16) - frame).mean() for frame in frames]
    return FRAMES[int(np.argmin(apart))]
