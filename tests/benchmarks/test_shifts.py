"""Shifted copies: the pictures change as said, the boxes stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.build import yolo
from vision_lora.benchmarks.shifts import SHIFTS, main
from vision_lora.datasets import open_dataset


def test_what_each_shift_does() -> None:
    grey = np.full((16, 16), 100, np.uint8)
    grey[:, 8:] = 200
    picture = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(SHIFTS["inverted"](picture), 255 - picture)
    halved = SHIFTS["half"](picture)
    assert halved.shape == (8, 8, 3)
    assert np.array_equal(halved, picture[::2, ::2])
    # A window of three pixels: only at the edge is anything above the mean around it.
    white = SHIFTS["binarised"](picture)[..., 0] == 255
    assert np.array_equal(np.flatnonzero(white.all(0)), [8])
    assert white.sum() == 16


@pytest.mark.parametrize("kind", SHIFTS)
def test_boxes_classes_and_splits_are_those_of_the_source(kind: str, tmp_path: Path) -> None:
    source = yolo(tmp_path / "source", ["1 0.5 0.5 0.25 0.5\n0 0.3 0.3 0.1 0.2\n", ""], names='["no: 1", dent]')
    assert main(["--data", str(source), "--kind", kind, "--out", str(tmp_path / "copy")]) == 0
    before, after = open_dataset(source), open_dataset(tmp_path / "copy" / "data.yaml", strict=True)
    assert after.names == before.names == ("no: 1", "dent")
    assert {name: len(samples) for name, samples in after.splits.items()} == {
        name: len(samples) for name, samples in before.splits.items()
    }
    share = 0.5 if kind == "half" else 1.0
    for split, samples in before.splits.items():
        for one, other in zip(samples, after.splits[split], strict=True):
            assert np.allclose(other.boxes, one.boxes * share, atol=0.51)
            assert np.array_equal(other.classes, one.classes)
            assert np.array_equal(other.read(), SHIFTS[kind](one.read()))  # type: ignore[index]


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = yolo(tmp_path / "source", ["0 0.5 0.5 0.25 0.5\n"])
    assert main(["--data", str(source), "--out", str(tmp_path / "source")]) == 2
    assert "expected a new folder" in capsys.readouterr().err
    assert main(["--data", str(source), "--kind", "blurred", "--out", str(tmp_path / "copy")]) == 2
