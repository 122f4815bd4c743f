"""`predict` as a whole: every picture gets a copy, the JSON is COCO's, and nothing that was found is lost."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.build import picture, video
from vision_lora.errors import ConfigError, OutputError
from vision_lora.options.option import Options
from vision_lora.pictures.detections import Detections
from vision_lora.predict import main
from vision_lora.streaming.files.results import CocoResults, legend_file
from vision_lora.streaming.files.sinks import AnnotatedFolder
from vision_lora.streaming.sources.source import FileFrame


def predict(source: str | Path, out: Path, *words: object) -> int:
    """The verb with a threshold that noise passes."""
    given = ["--source", source, "--out", out, "--model", "starter", "--imgsz", 64, "--confidence", 0.001, *words]
    return main([str(word) for word in given])


def load(results: Path, truth: Path) -> COCO:
    """pycocotools' own reading of results."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(truth)).loadRes(str(results))


def noise(path: Path) -> Path:
    """A picture that the starter finds something in at a low threshold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(path)
    return path


def test_one_odd_picture_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1.png", "3.png"):
        noise(tmp_path / "in" / name)
    picture(tmp_path / "in" / "2.pgm", mode="L")
    (tmp_path / "in" / "notes.txt").touch()
    assert predict(tmp_path / "in", tmp_path / "out", "--json", tmp_path / "found.json") == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"1.png", "2.pgm.png", "3.png"}
    assert "not read: 1 files, no pictures or videos by their endings: 1 .txt" in capsys.readouterr().out


def test_results_are_what_pycocotools_loads(tmp_path: Path) -> None:
    noise(tmp_path / "in" / "b.png")
    noise(tmp_path / "in" / os.fsdecode(b"a_\xfc.png"))
    video(tmp_path / "in" / "c.avi", 2)
    found = tmp_path / "found.json"
    assert predict(tmp_path / "in", tmp_path / "out", "--json", found) == 0
    rows, legend = json.loads(found.read_text()), json.loads(legend_file(found).read_text())
    assert [(image["id"], image["file_name"], image.get("frame")) for image in legend["images"]] == [
        (1, os.fsdecode(b"a_\xfc.png"), None),
        (2, "b.png", None),
        (3, "c.avi", 0),
        (4, "c.avi", 1),
    ]
    assert [category["id"] for category in legend["categories"]] == list(range(1, 21))
    assert legend["categories"][0] == {"id": 1, "name": "person", "supercategory": "general"}
    names = {category["id"]: category["name"] for category in legend["categories"]}
    assert rows
    assert all(names[row["category_id"]] == row["category_name"] for row in rows)
    assert len(load(found, legend_file(found)).anns) == len(rows)


def test_two_folders_with_a_file_of_one_name_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repeated, several at once and as a pattern alike: copies, names in the JSON and ids are each file's own."""
    for line in ("line1", "line2"):
        noise(tmp_path / "in" / line / "1.png")
    (tmp_path / "in" / "notes.txt").touch()
    one, two, pattern = tmp_path / "in" / "line1", tmp_path / "in" / "line2" / "1.png", tmp_path / "in" / "*"
    for number, sources in enumerate(([one, two, one / "1.png"], [one, "--source", two], [pattern])):
        found, out = tmp_path / f"{number}.json", tmp_path / f"out{number}"
        words = ["--source", *sources, "--out", out, "--json", found, "--model", "starter", "--imgsz", 64]
        assert main([str(word) for word in words]) == 0
        assert ("not read: " in capsys.readouterr().out) == (sources == [pattern])
        images = json.loads(legend_file(found).read_text())["images"]
        assert [(image["id"], image["file_name"]) for image in images] == [(1, "line1/1.png"), (2, "line2/1.png")]
        assert {file.relative_to(out).as_posix() for file in out.rglob("*.png")} == {"line1/1.png", "line2/1.png"}


def test_a_coco_file_as_source_gives_its_own_ids(tmp_path: Path) -> None:
    noise(tmp_path / "images" / "a.png")
    truth = tmp_path / "truth.json"
    categories = [{"id": 40, "name": "person"}, {"id": 7, "name": "car"}]
    truth.write_text(
        json.dumps({"images": [{"id": 99, "file_name": "a.png"}], "annotations": [], "categories": categories})
    )
    found = tmp_path / "found.json"
    assert predict(truth, tmp_path / "out", "--json", found) == 0
    rows = json.loads(found.read_text())
    assert {row["image_id"] for row in rows} == {99}
    ids = {row["category_name"]: row["category_id"] for row in rows}
    assert all(ids[name] == given for name, given in (("person", 40), ("car", 7)) if name in ids)
    assert all(number > 40 for name, number in ids.items() if name not in ("person", "car"))
    assert load(found, truth).getImgIds() == [99]
    assert predict(truth, tmp_path / "out", "--json", truth) == 2
    assert json.loads(truth.read_text())["categories"] == categories


def test_ids_of_an_adapters_classes_follow_the_bases() -> None:
    frame = FileFrame("a.png", np.zeros((32, 32, 3), np.uint8), image_id=5)
    boxes, scores = np.array([[1, 2, 11, 22]] * 3, "f4"), np.ones(3, "f4")
    found = Detections(boxes, scores, np.array([0, 1, 2]), ("person", "dent", "person"), 2)
    plain, given = CocoResults({}), CocoResults({"person": 12, "rust": 3})
    for results in (plain, given):
        results.add(frame, found)
    assert [row["category_id"] for row in plain.rows] == [1, 2, 3]
    # The adapter's own "person" is the file's; the base's, and what the file lacks, come behind its highest id.
    assert [row["category_id"] for row in given.rows] == [13, 14, 12]
    assert given.rows[0]["bbox"] == [1, 2, 10, 20]


def test_two_classes_of_one_name_keep_their_ids(tmp_path: Path) -> None:
    """As a merged joint adapter has them that learned anew what the base calls so too."""
    frame = FileFrame("a.png", np.zeros((32, 32, 3), np.uint8), image_id=5)
    found = Detections(np.zeros((3, 4), "f4"), np.ones(3, "f4"), np.array([1, 2, 3]), ("person", "car", "car", "x"), 4)
    results = CocoResults({})
    results.add(frame, found)
    results.write(tmp_path / "found.json")
    legend = json.loads(legend_file(tmp_path / "found.json").read_text())
    assert [row["category_id"] for row in results.rows] == [2, 3, 4]
    assert [(one["id"], one["name"]) for one in legend["categories"]] == [
        (1, "person"),
        (2, "car"),
        (3, "car"),
        (4, "x"),
    ]


def test_the_limit_is_told_and_can_be_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(tmp_path / "a.png")
    found = tmp_path / "found.json"
    words = ("--confidence", 0, "--json", found)
    assert predict(tmp_path / "a.png", tmp_path / "few", *words, "--limit", 7) == 0
    assert "1 pictures have as many detections as --limit 7 lets through" in capsys.readouterr().out
    assert len(json.loads(found.read_text())) == 7
    assert predict(tmp_path / "a.png", tmp_path / "tiles", *words, "--limit", 7, "--tile", 64) == 0
    assert "--limit 7 lets through" in capsys.readouterr().out
    assert predict(tmp_path / "a.png", tmp_path / "many", *words, "--limit", 10_000) == 0
    assert "--limit" not in capsys.readouterr().out
    assert len(json.loads(found.read_text())) > 7
    assert predict(tmp_path / "a.png", tmp_path / "none", "--limit", 0) == 2


def test_results_within_the_source_are_not_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(tmp_path / "a.png")
    for _ in range(3):
        assert predict(tmp_path, tmp_path / "out") == 0
        assert "in 1 pictures" in capsys.readouterr().out
    assert predict(tmp_path, tmp_path / "out", "--exist-ok") == 0
    assert predict(tmp_path, tmp_path, "--exist-ok") == 2
    assert predict(tmp_path / "a.png", tmp_path, "--exist-ok") == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "out", "out-2", "out-3"]


@pytest.mark.parametrize("wrong", ["a.png", "run.safetensors", "gone/found.json", "folder.json", "x" * 260 + ".json"])
def test_a_wrong_place_for_json_is_told_before_the_work(
    tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = noise(tmp_path / "a.png").read_bytes()
    (tmp_path / "folder.json").mkdir()
    assert predict(tmp_path / "a.png", tmp_path / "runs" / "out", "--json", tmp_path / wrong) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --json ")
    assert error.count("\n") == 1
    assert (tmp_path / "a.png").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "folder.json"]


@pytest.mark.parametrize("data", [b"", b"no video"])
def test_a_failed_start_leaves_nothing_behind(tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    assert predict(tmp_path / "a.mp4", tmp_path / "runs" / "predict", "--json", tmp_path / "found.json") == 2
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert capfd.readouterr().err.count("error: ") == 1


@pytest.mark.parametrize(
    "stop", [OutputError("the disk is full"), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")]
)
def test_what_was_found_until_an_error_is_kept(
    tmp_path: Path, stop: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        noise(tmp_path / "in" / f"{name}.png")
    write = AnnotatedFolder.write

    def failing(self: AnnotatedFolder, frame: FileFrame, found: Any) -> None:
        if frame.name == "b.png":
            raise stop
        write(self, frame, found)

    monkeypatch.setattr(AnnotatedFolder, "write", failing)
    found = tmp_path / "found.json"
    code = predict(tmp_path / "in", tmp_path / "out", "--json", found, "--batch", 1)
    assert code == (130 if isinstance(stop, KeyboardInterrupt) else 2)
    assert f"what was found in 2 pictures until then: {found}" in capsys.readouterr().out
    assert {row["file_name"] for row in json.loads(found.read_text())} == {"a.png", "b.png"}


def test_json_that_has_no_place_in_the_end_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise(tmp_path / "a.png")
    (tmp_path / "place").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "elsewhere"))
    close = AnnotatedFolder.close

    def gone(self: AnnotatedFolder) -> None:
        close(self)
        (tmp_path / "place").rmdir()

    monkeypatch.setattr(AnnotatedFolder, "close", gone)
    assert predict(tmp_path / "a.png", tmp_path / "out", "--json", tmp_path / "place" / "found.json") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    kept = sorted((tmp_path / "elsewhere").iterdir(), key=lambda file: len(file.name))
    assert [str(file) in error for file in kept] == [True, True]
    assert {row["file_name"] for row in json.loads(kept[0].read_text())} == {"a.png"}


def test_a_nul_in_an_option_is_told() -> None:
    from vision_lora.options.detect import PredictConfig

    assert issubclass(PredictConfig, Options)
    with pytest.raises(ConfigError, match="--out"):
        PredictConfig(model="starter", source="a", out="a\0b")
