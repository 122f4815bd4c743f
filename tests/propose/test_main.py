"""The verb: chosen pictures with pre-labels that labelling tools, and our own readers, open with the same boxes."""

from __future__ import annotations

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from tests.api.build import drawn
from tests.evaluation.adapter import label_what_is_found
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.datasets import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.detectors.load import load_detector
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.evaluation.proposal.features import neck_features
from vision_lora.propose.__main__ import main

COUNT = 3
THRESHOLDS = {"dent": 0.014, "stain": 0.01}  # no detection of this untrained adapter reaches the usual 0.25


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with its adapter, and a folder: five pictures, two copies, a labelled one, one in 16 bit."""
    root = label_what_is_found(tmp_path_factory.mktemp("made"))
    file = root / "adapter.safetensors"
    save_adapter(load_adapter(file).with_thresholds(THRESHOLDS, "by hand"), file)
    pool = root / "pool"
    (pool / "below").mkdir(parents=True)
    for index in range(5):
        Image.fromarray(drawn(index)).save(pool / ("below" if index % 2 else "") / f"a b{index // 2}.png")
    Image.fromarray(drawn(0)).save(pool / "copy.jpg", quality=80)
    Image.fromarray(drawn(1)).save(pool / "copy.bmp")
    shutil.copy(next((root / "images" / "val").iterdir()), pool / "labelled.png")
    Image.fromarray(drawn(9)[..., 0].astype(np.uint16) * 257).save(pool / "deep.tif")
    return root


def words(made: Path, out: Path, *more: object) -> list[str]:
    given = ["--adapter", made / "adapter.safetensors", "--model", "starter", "--data", made / "data.yaml"]
    return [str(word) for word in (*given, "--source", made / "pool", "--out", out, "--device", "cpu", *more)]


@pytest.fixture(scope="module")
def todo(made: Path) -> Path:
    """All that can be chosen."""
    assert main(words(made, made / "todo", "--count", 50)) == 0
    return made / "todo"


def rows(sample: Sample) -> list[list[float]]:
    return np.column_stack([sample.classes, sample.boxes]).tolist()


def test_every_picture_is_proposed_once_and_what_is_labelled_never(todo: Path) -> None:
    table = list(csv.DictReader((todo / "proposed.csv").read_text().splitlines()))
    copies = {frozenset({"a b0.png", "copy.jpg"}), frozenset({"below/a b0.png", "copy.bmp"})}
    sources = {Path(row["source"]).relative_to(todo.parent / "pool").as_posix() for row in table}
    assert len(table) == len(sources) == 6
    assert "labelled.png" not in sources
    assert all(len(pair & sources) == 1 for pair in copies)
    assert [row["picture"][:5] for row in table] == [f"{number:04d}-" for number in range(1, 7)]
    assert sorted(row["picture"] for row in table) == sorted(file.name for file in (todo / "images/train").iterdir())


def test_our_readers_open_all_of_it_with_the_same_boxes(todo: Path, tmp_path: Path) -> None:
    """In Label Studio a person accepts what is predicted: a prediction becomes an annotation."""
    tasks = json.loads((todo / "label_studio.json").read_text())
    for task in tasks:
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
    accepted = tmp_path / "accepted"
    shutil.copytree(todo / "images", accepted / "images")
    (accepted / "export.json").write_text(json.dumps(tasks))
    read = [
        open_dataset(path, strict=True)
        for path in (todo / "data.yaml", todo / "annotations" / "instances_train.json", accepted / "export.json")
    ]
    yolo, coco, studio = [{one.path.name: rows(one) for one in data.splits["train"]} for data in read]
    assert [data.names for data in read] == [("dent", "stain")] * 3
    assert len(yolo) == 6
    assert sum(map(len, yolo.values())) > 6, "or the test shows nothing"
    for name, expected in coco.items():
        assert np.allclose(yolo[name], expected, atol=1e-4), name
        assert np.allclose(studio[name], expected, atol=1e-4), name
    assert coco.keys() == yolo.keys() == studio.keys()
    detector = load_detector("starter", str(todo.parent / "adapter.safetensors"), "cpu")
    for sample in read[1].splits["train"]:
        readout = detector.readout(None, iou=0.7, limit=300)
        (found,) = detector.predict([sample.read()], 64, mode="defects", readout=readout)
        wide = ((found.boxes[:, 2:] - found.boxes[:, :2]) >= 1).all(1)
        assert np.allclose(sample.boxes, found.boxes[wide], atol=1e-3)
        assert (sample.classes == found.classes[wide] - found.general).all()


def test_coco_is_what_its_own_library_reads(todo: Path) -> None:
    read = COCO(str(todo / "annotations" / "instances_train.json"))
    assert [one["name"] for one in read.loadCats(read.getCatIds())] == ["dent", "stain"]
    for one in read.loadAnns(read.getAnnIds()):
        assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3], rel=1e-5)
    assert all((todo / "images" / "train" / one["file_name"]).is_file() for one in read.loadImgs(read.getImgIds()))


def test_label_studio_finds_what_its_configuration_names(todo: Path) -> None:
    """As its documents on pre-annotations ask: names of the control and the object, ids, per cent, known labels."""
    config = ET.parse(todo / "label_studio.xml").getroot()
    image, control = config.find("Image"), config.find("RectangleLabels")
    assert image is not None
    assert control is not None
    labels = {label.get("value") for label in control}
    for task in json.loads((todo / "label_studio.json").read_text()):
        assert task["data"].keys() == {(image.get("value") or "").removeprefix("$")}
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "adapter"
        assert 0 <= prediction["score"] <= 1
        ids = [region["id"] for region in prediction["result"]]
        assert len(set(ids)) == len(ids)
        for region in prediction["result"]:
            assert (region["from_name"], region["to_name"]) == (control.get("name"), control.get("toName"))
            assert region["type"] == "rectanglelabels"
            value = region["value"]
            assert set(value["rectanglelabels"]) <= labels
            assert 0 <= value["x"] < value["x"] + value["width"] <= 100.001
            assert 0 <= value["y"] < value["y"] + value["height"] <= 100.001


def test_too_many_are_all_taken_and_said(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(made, tmp_path / "few", "--count", COUNT)) == 0
    assert f"{COUNT} of 9 pictures" in capsys.readouterr().out
    assert len(list((tmp_path / "few" / "images" / "train").iterdir())) == COUNT
    assert main(words(made, tmp_path / "all", "--count", 7)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "--count 7: there are only 6, so all are taken; 3 others are near-copies of what is labelled or chosen" in told
    )


def test_features_are_the_base_s_whatever_is_attached(made: Path) -> None:
    pictures = torch.from_numpy(np.stack([drawn(seed)[:64, :64] for seed in range(2)])).permute(0, 3, 1, 2)
    base = load_detector("starter", None, "cpu")
    plain = neck_features(base, pictures)
    assert plain.shape[0] == 2
    assert not torch.equal(plain[0], plain[1])
    adapted = load_detector("starter", str(made / "adapter.safetensors"), "cpu")
    assert torch.equal(neck_features(adapted, pictures), plain)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--source", "{root}/none"], "none: no such folder; expected one with pictures"),
        (["--source", "{root}/labels"], "labels: no picture in it that can be read"),
        (["--source", "{root}/images"], "all 4 pictures in it are in"),
        (["--data", "{root}/none.yaml"], "none.yaml: no such file"),
        (["--adapter", "{root}/other.safetensors"], "the adapter was made for base yolov8n.yaml"),
        (["--out", "{root}"], "already holds something; expected a new folder"),
        (["--adapter", ""], "--adapter (nothing): expected the adapter that is to learn more"),
        (["--count", "0"], "--count 0: expected 1 or more"),
    ],
)
def test_a_mistake_is_one_line(
    more: list[str], message: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "other" in more[1]:
        other = YoloDetector.load("yolov8n.yaml")
        save_adapter(new_adapter(other, ["dent"], rank=1, imgsz=64), made / "other.safetensors")
    out = tmp_path / "out"
    assert main([*words(made, out), *(word.format(root=made) for word in more)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.strip().count("\n") == 0
    assert not out.exists()
