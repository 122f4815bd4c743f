from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.comparison.build import steel
from tests.datasets.build import coco, yolo
from vision_lora.comparison.data import fingerprint, share_data, shots_name, write_data
from vision_lora.datasets.open import open_dataset
from vision_lora.errors import ConfigError, DataError


def test_cells_read_the_same_boxes_to_the_bit(tmp_path: Path) -> None:
    data = share_data(str(steel(tmp_path / "steel")), ["all", "2"], [0, 1], tmp_path / "data")
    write_data(data)
    source = open_dataset(tmp_path / "steel" / "data.yaml")
    for shots in ("all", "2"):
        for seed in (0, 1):
            cell = open_dataset(data.file(shots, seed))
            assert cell.problems == []
            assert cell.names == source.names
            expected = {**source.splits, "train": [source.splits["train"][i] for i in data.training[shots, seed]]}
            for split, samples in expected.items():
                for one, other in zip(cell.splits[split], samples, strict=True):
                    assert one.path.resolve() == other.path.resolve()
                    assert (one.width, one.height) == (other.width, other.height)
                    assert np.array_equal(one.boxes, other.boxes)
                    assert np.array_equal(one.classes, other.classes)
    assert data.file("all", 0) == data.file("all", 1)
    assert data.training["2", 0] != data.training["2", 1]
    assert data.per_class("2", 0)[:2] == [2, 2]
    assert data.scored == "test"


def test_regions_to_ignore_reach_the_cells(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    crowd = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 4, 20.3, 10.7], "iscrowd": 1}
    boxes = [{"id": n + 2, "image_id": n + 1, "category_id": 7, "bbox": [9, 9, 9.1, 9], "area": 33} for n in range(2)]
    for split in ("train", "val"):
        coco(tmp_path / "in", [crowd, *boxes]).rename(tmp_path / "in" / f"{split}.json")
    data = share_data(str(tmp_path / "in"), ["all"], [0], tmp_path / "data")
    write_data(data)
    assert data.scored == "val"
    for split, samples in open_dataset(data.file("all", 0)).splits.items():
        assert np.array_equal(samples[0].ignored, data.splits[split][0].ignored)
        assert samples[0].ignored_classes.tolist() == [0]
        assert samples[1].classes.tolist() == [1]
        assert samples[1].areas is not None
        assert samples[1].areas.tolist() == [33]
        assert len(samples[0].boxes) == 1


def test_one_split_is_divided_once_for_all_seeds(tmp_path: Path) -> None:
    source = yolo(tmp_path / "one", [f"{index % 2} 0.5 0.5 0.2 0.3\n" for index in range(20)])
    data = share_data(str(source), ["all"], [3, 4], tmp_path / "data")
    assert {split: len(samples) for split, samples in data.splits.items()} == {"train": 14, "val": 3, "test": 3}
    assert data.training["all", 3] == data.training["all", 4]
    again = share_data(str(source), ["all"], [3], tmp_path / "data")
    assert again.fingerprint() == data.fingerprint()


def test_a_test_split_stays_when_val_is_missing(tmp_path: Path) -> None:
    source = steel(tmp_path / "steel", train=12)
    source.write_text(source.read_text().replace("val: images/val\n", ""))
    data = share_data(str(source), ["all"], [0], tmp_path / "data")
    assert [sample.path.name for sample in data.splits["test"]] == ["test0.png", "test1.png"]
    assert len(data.splits["train"]) + len(data.splits["val"]) == 12
    assert data.splits["val"]


def test_a_list_of_pictures_is_a_training_set(tmp_path: Path) -> None:
    source = steel(tmp_path / "steel")
    listed = tmp_path / "steel" / "few.txt"
    listed.write_text("./images/train/3.png\n\nimages/train/1.png\n")
    data = share_data(str(source), [str(listed)], [0, 1], tmp_path / "data")
    assert data.training[str(listed), 0] == data.training[str(listed), 1] == [1, 3]
    assert data.file(str(listed), 0).name == "train-few.yaml"
    assert shots_name(str(listed)) == "few"


def test_the_fingerprint_tells_data_not_places(tmp_path: Path) -> None:
    data = share_data(str(steel(tmp_path / "steel")), ["all"], [0], tmp_path / "data")
    moved = Path(shutil.copytree(tmp_path / "steel", tmp_path / "elsewhere")) / "data.yaml"
    assert share_data(str(moved), ["2"], [5], tmp_path / "x").fingerprint() == data.fingerprint()
    first = data.splits["train"][0]
    changed = {**data.splits, "train": [replace(first, boxes=first.boxes + 1e-4), *data.splits["train"][1:]]}
    assert fingerprint(data.names, changed) != data.fingerprint()
    assert fingerprint(("x", *data.names[1:]), data.splits) != data.fingerprint()


def test_a_broken_picture_is_found_before_training(tmp_path: Path) -> None:
    source = steel(tmp_path / "steel")
    broken = tmp_path / "steel" / "images" / "test" / "test0.png"
    broken.write_bytes(broken.read_bytes()[:-2000])
    data = share_data(str(source), ["all"], [0], tmp_path / "data")
    assert len(data.splits["test"]) == 1
    assert any("test0.png" in problem for problem in data.problems)


@pytest.mark.parametrize(
    ("shots", "error", "message"),
    [
        ("0", ConfigError, "--shots 0: expected all, pictures a class"),
        ("some", ConfigError, "--shots some: expected all"),
        ("gone.txt", DataError, "--shots gone.txt: cannot be read"),
    ],
)
def test_mistakes_in_shots(tmp_path: Path, shots: str, error: type[Exception], message: str) -> None:
    source = steel(tmp_path / "steel")
    with pytest.raises(error, match=message):
        share_data(str(source), [shots], [0], tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_list_that_names_a_test_picture_is_refused(tmp_path: Path) -> None:
    source = steel(tmp_path / "steel")
    listed = tmp_path / "steel" / "few.txt"
    listed.write_text("images/train/1.png\nimages/test/test1.png\n")
    with pytest.raises(
        DataError, match=r"few.txt, line 2: 'images/test/test1.png' is not in the dataset's train split"
    ):
        share_data(str(source), [str(listed)], [0], tmp_path / "data")
    listed.write_text("\n")
    with pytest.raises(DataError, match=r"few\.txt: empty"):
        share_data(str(source), [str(listed)], [0], tmp_path / "data")


def test_data_that_cannot_be_compared_on(tmp_path: Path) -> None:
    source = steel(tmp_path / "steel")
    for label in (tmp_path / "steel" / "labels" / "test").iterdir():
        label.write_text("")
    with pytest.raises(DataError, match="no box in the test split"):
        share_data(str(source), ["all"], [0], tmp_path / "data")
    source.write_text(source.read_text().replace("train: images/train\n", ""))
    with pytest.raises(DataError, match="no train split"):
        share_data(str(source), ["all"], [0], tmp_path / "data")
