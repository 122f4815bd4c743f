"""Results: rows, tables and other libraries' forms of them; copies and pictures of them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tests.api.build import adapter, drawn, folder
from vision_lora import Detector, VisionLoraError
from vision_lora.api.results import COLUMNS, Results
from vision_lora.pictures.drawing import draw_detections
from vision_lora.pictures.images import read_image


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("results") / "in")


@pytest.fixture(scope="module")
def results(place: Path) -> Results:
    line3 = adapter(place.parent / "line3.safetensors")
    return Detector.load("starter", adapter=line3, device="cpu").predict(place, mode="both", confidence=0.01, limit=5)


def test_every_form_tells_the_same(results: Results) -> None:
    rows, coco, boxes = results.to_rows(), results.to_coco(), results.to_supervision()
    assert len(rows) == len(coco) == sum(map(len, results)) > 10
    assert {row["source"] for row in rows} == {"general", "defects"}
    each = [(result, one) for result in results for one in result]
    for row, entry, (result, one) in zip(rows, coco, each, strict=True):
        assert tuple(row) == COLUMNS
        x1, y1, x2, y2 = one.box
        assert (row["picture"], row["frame"]) == (result.name, None)
        assert (row["x1"], row["y1"], row["x2"], row["y2"]) == one.box
        assert entry["image_id"] == result.image_id
        assert entry["category_id"] == one.class_id + 1
        assert entry["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        assert entry["score"] == row["score"] == one.score
        assert row["class_id"] == one.class_id
        assert row["name"] == one.name == entry["category_name"]
        assert row["source"] == one.source == entry["source"]
    for result, theirs in zip(results, boxes, strict=True):
        assert np.array_equal(theirs.xyxy, result.boxes)
        assert np.array_equal(theirs.confidence, result.scores)
        assert np.array_equal(theirs.class_id, result.class_ids)
        assert list(theirs.data["class_name"]) == result.names
        assert list(theirs.data["source"]) == result.sources


def test_results_of_nothing_have_every_form_too(place: Path) -> None:
    nothing = Detector.load("starter", device="cpu").predict(place, confidence=1.0, imgsz=64)
    assert (len(nothing), nothing.to_rows(), nothing.to_coco(), sum(nothing.counts().values())) == (3, [], [], 0)
    assert [len(one) for one in nothing.to_supervision()] == [0, 0, 0]
    assert repr(nothing) == "<3 pictures: nothing found>"


def test_pycocotools_loads_them(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    truth = COCO()
    truth.dataset = {"images": [{"id": result.image_id} for result in results], "annotations": [], "categories": []}
    truth.createIndex()
    assert len(truth.loadRes(results.to_coco()).anns) == len(results.to_rows())


def test_a_table_where_pandas_is_there(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows, columns: (rows, columns)))
    assert results.to_pandas() == (results.to_rows(), COLUMNS)


@pytest.mark.parametrize("name", ["pandas", "supervision"])
def test_a_library_that_is_missing_is_one_line(results: Results, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(VisionLoraError, match=f"{name} is not installed.*pip install") as caught:
        getattr(results, f"to_{name}")()
    assert "\n" not in str(caught.value)


def test_copies_are_drawn_and_nothing_is_overwritten(results: Results, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (results.save(out), results.save(str(out)), results.save(out, exist_ok=True)) == (
        out,
        tmp_path / "out-2",
        out,
    )
    for result in results:
        assert result.path is not None
        drawn_on = draw_detections(read_image(result.path), result.detections)
        assert np.array_equal(read_image(out / result.name), drawn_on)
        assert np.array_equal(np.asarray(result.draw()), drawn_on)
    with pytest.raises(VisionLoraError, match="the pictures to detect in are there"):
        results.save(place, exist_ok=True)


def test_shown_are_the_drawn_pictures(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda image, title=None: shown.append(image))
    results[0].show()
    results.show()
    assert np.array_equal(np.asarray(shown[0]), np.asarray(results[0].draw()))
    assert shown[1].size == (3 * 96 + 4 * 8, 80 + 2 * 8)


def test_results_are_a_sequence(results: Results) -> None:
    assert [one.name for one in results[1:]] == [results[1].name, results[2].name]
    assert results[-1] in results
    assert results.counts().total() == len(results.to_rows())
    assert repr(results).startswith("<3 pictures: ")


def test_a_picture_that_is_gone_is_told_when_it_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(drawn(0)).save(file)
    result = Detector.load("starter", device="cpu").predict(file, imgsz=64)[0]
    file.unlink()
    with pytest.raises(VisionLoraError, match=r"a\.png: no such"):
        result.draw()
