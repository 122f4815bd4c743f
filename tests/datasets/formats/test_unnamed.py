"""Folders of pictures and `.txt` labels without a yaml: what to write is told, or written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.datasets.build import coco, picture
from vision_lora.datasets import open_dataset
from vision_lora.datasets.formats.unnamed import Unnamed
from vision_lora.datasets.naming import write_yaml
from vision_lora.datasets.open import lacking_yaml
from vision_lora.datasets.split import hold_out
from vision_lora.errors import DataError

COUNT = 10


def label(path: Path, kind: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{kind} 0.5 0.5 0.5 0.5\n")


def beside(root: Path) -> None:
    for index in range(COUNT):
        picture(root / f"{index}.png", seed=index)
        label(root / f"{index}.txt", index % 3)


def apart(root: Path) -> None:
    for index in range(COUNT):
        picture(root / "images" / f"{index}.png", seed=index)
        label(root / "labels" / f"{index}.txt", index % 3)


def with_val(root: Path) -> None:
    for split, inner in (("train", range(8)), ("val", range(8, COUNT))):
        for index in inner:
            picture(root / "images" / split / f"{index}.png", seed=index)
            label(root / "labels" / split / f"{index}.txt", index % 3)


def roboflow(root: Path) -> None:
    for split, inner in (("train", range(8)), ("valid", range(8, COUNT))):
        for index in inner:
            picture(root / split / "images" / f"{index}.png", seed=index)
            label(root / split / "labels" / f"{index}.txt", index % 3)


LAYOUTS: Mapping[str, tuple[Callable[[Path], None], dict[str, str]]] = {
    "beside": (beside, {"train": "."}),
    "apart": (apart, {"train": "images"}),
    "with val": (with_val, {"train": "images/train", "val": "images/val"}),
    "Roboflow's": (roboflow, {"train": "train/images", "val": "valid/images"}),
}


def found(root: Path) -> Unnamed:
    unnamed = lacking_yaml(root)
    assert unnamed is not None
    return unnamed


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_lines_that_are_told_are_those_that_it_takes(layout: str, tmp_path: Path) -> None:
    make, splits = LAYOUTS[layout]
    make(tmp_path)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    told = str(caught.value)
    assert f"{tmp_path}: {COUNT} pictures, {COUNT} of them with .txt labels of 3 classes" in told
    assert "these 3 lines" in told
    assert "--yes" in told
    assert ("about a fifth of train is held out" in told) == ("val" not in splits)
    lines = [part for part in told.split("`") if ": " in part and "\n" not in part and len(part) < 80][:4]
    lines = [line for line in lines if line.split(":")[0] in ("path", "train", "val", "names")]
    assert len(lines) == 3
    (tmp_path / "data.yaml").write_text("\n".join(lines))
    dataset = open_dataset(tmp_path)
    assert dataset.names == ("class0", "class1", "class2")
    assert sum(len(samples) for samples in dataset.splits.values()) == COUNT
    assert dataset.splits.keys() == splits.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_written_with_a_part_held_out(layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make, splits = LAYOUTS[layout]
    make(tmp_path)
    with caplog.at_level(logging.WARNING):
        write_yaml(found(tmp_path), seed=0)
    dataset = open_dataset(tmp_path)
    train, val = ({sample.path.name for sample in dataset.splits[split]} for split in ("train", "val"))
    assert not train & val
    assert len(train | val) == COUNT
    assert len(val) in (2, 3)  # a fifth, with each class in its share
    assert all(len(sample.boxes) == 1 for samples in dataset.splits.values() for sample in samples)
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()).keys() == {"train", "val", "names"}
    assert ((tmp_path / "val.txt").exists()) == ("val" not in splits)
    assert ("listed in" in caplog.text) == ("val" not in splits)
    assert "classes class0, class1, class2: give them your own names there" in caplog.text
    assert lacking_yaml(tmp_path) is None


def test_the_same_seed_holds_out_the_same_pictures(tmp_path: Path) -> None:
    lists = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", 2)):
        beside(tmp_path / name)
        write_yaml(found(tmp_path / name), seed=seed)
        lists.append((tmp_path / name / "val.txt").read_text())
    assert lists[0] == lists[1]
    assert len(set(lists)) > 1


def test_names_come_from_a_list_that_lies_there(tmp_path: Path) -> None:
    beside(tmp_path)
    (tmp_path / "classes.txt").write_text("scratch\ndent\npit: deep\nnone yet\n")
    write_yaml(found(tmp_path))
    assert open_dataset(tmp_path).names == ("scratch", "dent", "pit: deep", "none yet")
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("too\nfew\n")
    assert found(tmp_path).names == ("class0", "class1", "class2")


def test_lists_that_are_there_are_not_replaced(tmp_path: Path) -> None:
    beside(tmp_path)
    (tmp_path / "val.txt").write_text("./1.png\n")
    with pytest.raises(DataError, match=r"val\.txt is there already"):
        write_yaml(found(tmp_path))
    assert (tmp_path / "val.txt").read_text() == "./1.png\n"
    assert not (tmp_path / "data.yaml").exists()
    assert not (tmp_path / "train.txt").exists()


def test_what_has_no_labels_is_no_such_folder(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").write_text("no label\n")
    assert lacking_yaml(tmp_path) is None
    with pytest.raises(DataError, match="nothing recognised"):
        open_dataset(tmp_path)


def test_what_is_a_dataset_lacks_nothing(tmp_path: Path) -> None:
    coco(tmp_path)
    assert lacking_yaml(tmp_path) is None
    assert lacking_yaml(tmp_path / "a.json") is None


def test_test_pictures_are_held_out_of_training(tmp_path: Path) -> None:
    """A dataset with train and test and no val: val comes out of train alone."""
    roboflow(tmp_path)
    (tmp_path / "valid").rename(tmp_path / "test")
    (tmp_path / "data.yaml").write_text("train: train/images\ntest: test/images\nnames: [a, b, c]\n")
    dataset = open_dataset(tmp_path)
    divided = hold_out(dataset)
    assert divided.splits["test"] == dataset.splits["test"]
    parts = [sample.path for split in ("train", "val") for sample in divided.splits[split]]
    assert sorted(parts) == sorted(sample.path for sample in dataset.splits["train"])


@pytest.mark.parametrize("number", ["20261127", "1e300"])
def test_texts_that_begin_with_no_number_of_a_class_are_no_labels(number: str, tmp_path: Path) -> None:
    """A name would be made up for each number below it."""
    beside(tmp_path)
    (tmp_path / "0.txt").write_text(f"{number} 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match="nothing recognised"):
        open_dataset(tmp_path)
