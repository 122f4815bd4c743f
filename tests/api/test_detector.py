"""`Detector`: the same detections as the verbs, whatever the pictures come as."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.api.build import SIDE, adapter, drawn, folder
from tests.build import video
from vision_lora import Detector, VisionLoraError
from vision_lora.api.results import Results
from vision_lora.evaluate import main as evaluate_verb
from vision_lora.predict import main as predict_verb


@pytest.fixture(scope="module")
def line3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(tmp_path_factory.mktemp("adapter") / "line3.safetensors")


@pytest.fixture(scope="module")
def plain() -> Detector:
    return Detector.load("starter", device="cpu")


@pytest.fixture(scope="module")
def adapted(line3: Path) -> Detector:
    return Detector.load("starter", adapter=line3, device="cpu")


def told(results: Results) -> list[dict[str, Any]]:
    """What is in the pictures, without their names."""
    return [
        {key: value for key, value in row.items() if key not in ("file_name", "image_id")} for row in results.to_coco()
    ]


@pytest.mark.usefixtures("one_thread")  # sums in another order differ in the last digit
@pytest.mark.parametrize(
    ("with_adapter", "whole", "more"),
    [
        (False, False, {}),
        (False, True, {"mode": "both"}),
        (True, False, {}),
        (True, True, {}),
        (True, False, {"mode": "both"}),
        (True, True, {"mode": "both"}),
        (True, True, {"mode": "general"}),
        (True, True, {"tile": 64, "imgsz": 64}),
    ],
)
def test_the_same_detections_as_the_verb(
    tmp_path: Path, line3: Path, with_adapter: bool, whole: bool, more: dict[str, Any]
) -> None:
    source = folder(tmp_path / "in") if whole else folder(tmp_path / "in") / "0.png"
    given = {"confidence": 0.01, "iou": 0.6, "limit": 20, **more}
    detector = Detector.load("starter", adapter=line3 if with_adapter else None, device="cpu")
    results = detector.predict(source, **given)
    words = ["--source", source, "--out", tmp_path / "out", "--model", "starter", "--device", "cpu"]
    words += ["--threads", 1, "--json", tmp_path / "found.json"] + (["--adapter", line3] if with_adapter else [])
    words += [word for name, value in given.items() for word in (f"--{name}", value)]
    assert predict_verb([str(word) for word in words]) == 0
    assert results.to_coco() == json.loads((tmp_path / "found.json").read_text())
    both = {"general", "defects"} if with_adapter else {"general"}
    mode = given.get("mode", "defects" if with_adapter else "general")
    expected = both if mode == "both" else {mode}
    assert {row["source"] for row in results.to_rows()} == expected


def test_what_the_adapter_was_made_for_is_the_default(adapted: Detector, plain: Detector, line3: Path) -> None:
    assert (adapted.imgsz, plain.imgsz) == (SIDE, 288)
    assert told(adapted.predict(drawn(0), confidence=0.01)) == told(
        adapted.predict(drawn(0), confidence=0.01, imgsz=SIDE, mode="defects")
    )
    assert Detector.load(adapter=line3, device="cpu").classes == adapted.classes
    assert (repr(plain), repr(adapted)) == (
        "<Detector starter>",
        f"<Detector starter with {line3}: scratch, dent>",
    )


def test_class_ids_count_through_both_vocabularies(adapted: Detector, plain: Detector) -> None:
    assert adapted.classes == (*plain.classes, "scratch", "dent")
    assert (adapted.general_classes, adapted.defect_classes) == (plain.classes, ("scratch", "dent"))
    for mode in ("general", "defects", "both"):
        found = adapted.predict(drawn(0), confidence=0.01, mode=mode)[0]
        assert len(found) > 0
        for one in found:
            assert adapted.classes[one.class_id] == one.name
            assert one.source == ("general" if one.class_id < len(plain.classes) else "defects")


def test_a_picture_is_the_same_as_path_array_and_pillows(tmp_path: Path, plain: Detector) -> None:
    picture, file = drawn(0), folder(tmp_path) / "0.png"
    bgr = np.ascontiguousarray(picture[..., ::-1])
    for order, given in {
        "rgb": [picture, Image.fromarray(picture), Image.open(file), file, str(file), [picture], [str(file)]],
        "bgr": [bgr, [bgr], file, Image.open(file)],
    }.items():
        for one in given:
            found = told(plain.predict(one, order=order, confidence=0.01, imgsz=64))
            assert found == told(plain.predict(file, confidence=0.01, imgsz=64))
            assert found
    assert told(plain.predict(bgr, confidence=0.01, imgsz=64)) != told(plain.predict(file, confidence=0.01, imgsz=64))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pillows_pictures_of_any_mode_are_as_their_files(tmp_path: Path, plain: Detector, mode: str) -> None:
    Image.fromarray(drawn(0)).convert(mode).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", Image.open(tmp_path / "a.png")]
    assert len({str(told(plain.predict(one, confidence=0.005, imgsz=64))) for one in given}) == 1


def test_deep_and_turned_pictures_of_pillows_are_as_their_files(tmp_path: Path, plain: Detector) -> None:
    grey = drawn(0)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(drawn(0)).save(tmp_path / "turned.jpg", exif=exif)
    for name in ("deep.png", "turned.jpg"):
        file, memory = plain.predict([tmp_path / name, Image.open(tmp_path / name)], confidence=0.005, imgsz=64)
        assert (file.width, file.height) == (memory.width, memory.height)
        assert np.array_equal(file.boxes, memory.boxes)
        assert len(file) > 0
    assert told(plain.predict(grey, confidence=0.005, imgsz=64)) == told(
        plain.predict(tmp_path / "deep.png", confidence=0.005, imgsz=64)
    )
    assert told(plain.predict(grey[..., None], confidence=0.005, imgsz=64))


def test_a_list_may_hold_anything(tmp_path: Path, plain: Detector) -> None:
    folder(tmp_path / "a")
    video(tmp_path / "b" / "v.avi", 2)
    Image.fromarray(drawn(0)).save(tmp_path / "picture-0.png")  # the name that the first array would have
    given = [drawn(1), tmp_path / "a", tmp_path / "picture-0.png", Image.fromarray(drawn(2)), tmp_path / "b" / "v.avi"]
    results = plain.predict(given, imgsz=64, confidence=0.01)
    assert [(one.name, one.index, one.image_id, one.path is None) for one in results] == [
        ("_picture-0.png", None, 1, True),
        ("a/0.png", None, 2, False),
        ("a/2.png", None, 3, False),
        ("a/below/1.png", None, 4, False),
        ("picture-0.png", None, 5, False),
        ("picture-3.png", None, 6, True),
        ("b/v.avi", 0, 7, False),
        ("b/v.avi", 1, 8, False),
    ]
    assert np.array_equal(results[0].boxes, results[3].boxes)
    assert np.array_equal(results[0].picture(), drawn(1))
    assert results[7].picture().mean() > results[6].picture().mean() + 10
    saved = results.save(tmp_path / "out")
    names = {file.relative_to(saved).as_posix() for file in saved.rglob("*") if file.is_file()}
    assert names == {one.name for one in results[:6]} | {"b/v.avi.mp4"}


def test_a_pattern_stands_for_what_it_matches(tmp_path: Path, plain: Detector) -> None:
    folder(tmp_path / "a")
    assert [one.name for one in plain.predict(tmp_path / "a" / "[0-2].png", imgsz=64)] == ["0.png", "2.png"]
    given = [str(tmp_path / "a" / "*.png"), drawn(1)]
    assert [one.name for one in plain.predict(given, imgsz=64)] == ["0.png", "2.png", "picture-1.png"]


def test_a_buffer_may_be_used_again(plain: Detector) -> None:
    buffer = drawn(0)
    results = plain.predict(buffer, imgsz=64)
    buffer[:] = 0
    assert np.array_equal(results[0].picture(), drawn(0))


def test_broken_pictures_are_left_out_and_told(
    tmp_path: Path, plain: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    (folder(tmp_path / "in") / "1.jpg").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        results = plain.predict(tmp_path / "in", imgsz=64)
    assert [one.name for one in results] == ["0.png", "2.png", "below/1.png"]
    assert [one.image_id for one in results] == [1, 3, 4]
    assert len(results.problems) == 1
    assert "1.jpg" in results.problems[0]
    assert "1.jpg" in caplog.text
    assert len(list(results.save(tmp_path / "out").rglob("*.png"))) == 3
    with pytest.raises(VisionLoraError, match=r"1\.jpg"):
        plain.predict(tmp_path / "in" / "1.jpg")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("gone.png", {}, "gone.png: no such file or folder"),
        ([], {}, "an empty list: expected at least one picture"),
        ([3], {}, "picture-0: a int; expected a path, an array, or a picture of Pillow's"),
        (3, {}, "a int; expected a path"),
        (np.zeros((4, 4, 2), np.uint8), {}, r"an array of shape \(4, 4, 2\), uint8; expected \(height, width, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"an array of shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), {}, "float32; expected"),
        ([np.zeros((4, 4), np.uint8), np.zeros(4, np.uint8)], {}, r"picture-1: an array of shape \(4,\)"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), {}, "32-bit float picture"),
        (np.zeros((4, 4), np.uint8), {"order": "gbr"}, "order='gbr': expected one of rgb, bgr"),
        (np.zeros((4, 4), np.uint8), {"confidence": 2.0}, "confidence 2.0: expected 0 to 1"),
        (np.zeros((4, 4), np.uint8), {"imgsz": 33}, "imgsz 33: expected a multiple of 32"),
        (np.zeros((4, 4), np.uint8), {"tile": 3}, "tile 3: expected 32 or more"),
        (np.zeros((4, 4), np.uint8), {"mode": "defects"}, "mode defects: expected --adapter"),
        (np.zeros((4, 4), np.uint8), {"mode": "all"}, "mode all: expected one of general, defects, both"),
        (np.zeros((4, 4), np.uint8), {"batch": 0}, "batch 0: expected 1 or more"),
    ],
)
def test_mistakes_are_one_line(plain: Detector, given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(VisionLoraError, match=message) as caught:
        plain.predict(given, **options)
    assert "\n" not in str(caught.value)


def test_mistakes_in_loading() -> None:
    with pytest.raises(VisionLoraError, match="a checkpoint, or an adapter"):
        Detector.load()
    with pytest.raises(VisionLoraError, match=r"gone\.safetensors"):
        Detector.load("starter", adapter="gone.safetensors")
    with pytest.raises(VisionLoraError, match="device tpu"):
        Detector.load("starter", device="tpu")


@pytest.mark.usefixtures("one_thread")
def test_evaluate_measures_what_the_verb_measures(tmp_path: Path, adapted: Detector, line3: Path) -> None:
    data = tmp_path / "data"
    for index in range(2):
        (data / "images" / "val").mkdir(parents=True, exist_ok=True)
        (data / "labels" / "val").mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(index)).save(data / "images" / "val" / f"{index}.png")
        box = adapted.predict(drawn(index), confidence=0.01)[0].boxes[0] / (96, 80, 96, 80)
        centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        text = "\n".join(f"{c} {centre[0]} {centre[1]} {size[0]} {size[1]}" for c in (0, 1))
        (data / "labels" / "val" / f"{index}.txt").write_text(text)
    (data / "data.yaml").write_text("val: images/val\nnames: [scratch, dent]\n")
    words = ["--data", data, "--model", "starter", "--adapter", line3, "--json", tmp_path / "map.json"]
    for more in ({}, {"classes": "dent"}, {"tile": 64, "imgsz": 32}):
        given = [word for name, value in more.items() for word in (f"--{name}", value)]
        assert evaluate_verb([str(word) for word in (*words, *given, "--device", "cpu", "--threads", 1)]) == 0
        measured = adapted.evaluate(data, **more)
        written = json.loads((tmp_path / "map.json").read_text())
        assert measured.to_json() == {name: written[name] for name in measured.to_json()}
        assert measured.map50 > 0
    assert set(adapted.evaluate(data, classes=["dent"]).per_class) == {"dent"}
    with pytest.raises(VisionLoraError, match="no test split"):
        adapted.evaluate(data, split="test")
