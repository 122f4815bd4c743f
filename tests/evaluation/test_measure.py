"""What is measured, in how little memory, and which classes a detector does not know is told before the work."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datasets.build import yolo
from tests.detectors.build import make
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.evaluate import main as evaluate
from vision_lora.evaluation.measure import demand_known, detect_all, measure, measure_map

KNOWN = ("scratch", "deep_dent", "stain")


def pictures(*classes: int) -> list[Sample]:
    return [Sample(Path("a.png"), 9, 9, np.ones((1, 4), np.float32), np.array([index])) for index in classes]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Scratch", "does not know 'Scratch' (did you mean 'scratch'?)"),
        ("Deep Dent", "does not know 'Deep Dent' (did you mean 'deep_dent'?)"),
        ("deep-dent", "does not know 'deep-dent' (did you mean 'deep_dent'?)"),
        ("scrach", "does not know 'scrach' (did you mean 'scratch'?)"),
        ("stain\u200e", "(did you mean 'stain'?)"),
        ("weld", "does not know 'weld': counted as 0 in the mean; it knows scratch, deep_dent, stain"),
    ],
)
def test_one_class_of_another_name_is_told(name: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        demand_known(KNOWN, [name, "stain"], pictures(0, 1))
    assert message in caplog.text


def test_a_class_without_boxes_needs_no_word(caplog: pytest.LogCaptureFixture) -> None:
    demand_known(KNOWN, ["weld", "stain"], pictures(1, 1))
    demand_known(KNOWN, ["stain"], pictures(0))
    assert not caplog.records


@pytest.mark.parametrize(
    ("names", "classes"), [(["Scratch"], (0,)), (["Scratch", "stain"], (0, 0)), (["Scratch", "weld"], (0, 1))]
)
def test_no_class_that_is_shown_being_known_is_an_error(names: list[str], classes: tuple[int, ...]) -> None:
    """Also where the names have one in common of which these pictures show nothing: the score would be 0 by name."""
    with pytest.raises(DataError, match=r"none of the dataset's classes \('Scratch' \(did you mean 'scratch'\?\)"):
        demand_known(KNOWN, names, pictures(*classes))


def test_the_verb_tells_it_before_it_detects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = yolo(tmp_path, val="images/train", names="[Person, car, stain]")
    words = ["--data", str(data), "--model", "starter", "--imgsz", "64", "--device", "cpu"]
    assert evaluate(words) == 0
    assert "does not know 'Person' (did you mean 'person'?)" in caplog.text
    assert evaluate([*words, "--classes", "Person"]) == 2


def test_the_map_alone_is_that_of_the_whole_measurement(tmp_path: Path) -> None:
    pictures = open_dataset(yolo(tmp_path, [""] * 3)).splits["train"]
    detector, batches = make("yolo11n.yaml"), eval_loader(pictures, 64, 2)
    found = detect_all(detector, batches, pictures, mode="general")
    samples = [  # what every fifth detection nearly says
        replace(picture, boxes=one.boxes[::5] + np.float32(3), classes=one.classes[::5])
        for picture, one in zip(pictures, found, strict=True)
    ]
    whole, _ = measure(detector, batches, samples, detector.names, mode="general")
    alone = measure_map(detector, batches, samples, detector.names, mode="general")
    assert 0 < whole.map50_95 < 1
    assert alone == pytest.approx((whole.map50_95, whole.map50), abs=1e-9)


def test_a_batch_that_has_no_room_is_measured_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n"] * 7))
    samples = data.splits["train"]
    detector, batches = make("yolo11n.yaml"), eval_loader(samples, 64, 5)
    expected = detect_all(detector, batches, samples, mode="general")
    detect, tried, room = detector.detect, list[int](), 2

    def narrow(images: torch.Tensor, **how: object) -> object:
        tried.append(len(images))
        if len(images) > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return detect(images, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(detector, "detect", narrow)
    found = detect_all(detector, batches, samples, mode="general")
    assert tried == [5, 3, 2, 1, 2, 2]
    for one, other in zip(found, expected, strict=True):  # sums of fewer pictures at once have another order
        assert one.scores == pytest.approx(other.scores, rel=1e-4)
    room = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        detect_all(detector, batches, samples, mode="general")
