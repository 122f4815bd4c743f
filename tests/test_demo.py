"""python -m vision_lora.demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_lora import demo
from vision_lora.rendering import video, write


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight pictures and four frames."""
    monkeypatch.setattr(write, "SPLITS", {"train": 4, "val": 4})
    draw = video.write_video
    monkeypatch.setattr(video, "write_video", lambda folder, seed: draw(folder, seed, frames=4))


def run(folder: Path, *options: str) -> int:
    return demo.main(["--out", str(folder), *options])


def test_makes_pictures_and_video_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "demo") == 0
    printed = capsys.readouterr().out
    assert "train 4, val 4" in printed
    assert f"next: python -m vision_lora.train --data {tmp_path}/demo/defects.yaml" in printed
    assert {"defects.yaml", "conveyor.mp4", "conveyor.json"} <= {file.name for file in (tmp_path / "demo").iterdir()}


def test_makes_only_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    picture = tmp_path / "images" / "train" / "train_000.jpg"
    picture.write_bytes(b"kept")
    (tmp_path / "conveyor.json").unlink()
    capsys.readouterr()
    assert run(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "was there already" in lines[0]
    assert "was there already" not in lines[1]
    assert picture.read_bytes() == b"kept"
    assert run(tmp_path, "--exist-ok") == 0
    assert picture.read_bytes() != b"kept"


def test_fewer_test_pictures_leave_none_of_an_earlier_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--test", "6") == 0
    assert run(tmp_path, "--test", "4", "--exist-ok") == 0
    assert "test 4; " in capsys.readouterr().out.splitlines()[3]
    assert len(list((tmp_path / "labels" / "test").iterdir())) == 4


def test_data_of_another_seed_or_of_someone_else_is_not_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "demo") == 0
    assert run(tmp_path / "demo", "--seed", "1") == 2
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "defects.yaml").write_text("path: .\n")
    assert run(tmp_path / "own") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: --out ")
    assert "has another defects.yaml" in error
    assert (tmp_path / "own" / "defects.yaml").read_text() == "path: .\n"
    assert run(tmp_path / "own", "--seed", "-1") == 2


def test_more_test_pictures_leave_the_others_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "few") == 0
    assert run(tmp_path / "more", "--test", "3") == 0
    assert "train 4, val 4, test 3" in capsys.readouterr().out
    for split in ("train", "val"):
        few, more = (
            [file.read_bytes() for file in sorted((tmp_path / name / "images" / split).iterdir())]
            for name in ("few", "more")
        )
        assert few == more
    assert run(tmp_path / "more", "--test", "3") == 0
    assert "was there already" in capsys.readouterr().out
    assert run(tmp_path / "more") == 2
    assert "has another defects.yaml" in capsys.readouterr().err
    assert run(tmp_path / "more", "--test", "0") == 2
