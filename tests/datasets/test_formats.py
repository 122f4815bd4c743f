"""Sound datasets in every format and layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.build import annotation, coco, picture, voc, voc_object, write_voc, yolo
from vision_lora.datasets import Dataset, open_dataset
from vision_lora.datasets.formats.labels import label_path
from vision_lora.datasets.formats.masks import mask_box
from vision_lora.errors import DataError

PUBLIC = {"neu-det": (1260, 2935), "deeppcb": (850, 5862), "coco128": (128, 929)}


@pytest.mark.parametrize("name", PUBLIC)
def test_yolo_and_coco_give_the_same_samples(shared: Path, name: str) -> None:
    """The shared datasets carry the same boxes twice, at most 0.001 px apart."""
    yolo_data = open_dataset(shared / "datasets" / name)
    coco_data = open_dataset(shared / "datasets" / name / "annotations")
    assert yolo_data.names == coco_data.names
    assert not yolo_data.problems
    assert not coco_data.problems
    train = yolo_data.splits["train"]
    assert (len(train), sum(len(sample.boxes) for sample in train)) == PUBLIC[name]
    for split in yolo_data.splits:
        assert_same(yolo_data, coco_data, split)


@pytest.mark.parametrize("name", ["neu-det", "deeppcb"])
def test_voc_gives_the_same_samples(shared: Path, tmp_path: Path, name: str) -> None:
    data = open_dataset(shared / "datasets" / name)
    some = Dataset(data.source, data.names, {"train": data.splits["val"][:40]}, [])
    written = open_dataset(write_voc(some.splits["train"], data.names, tmp_path))
    assert written.names == data.names
    assert not written.problems
    assert_same(some, written, "train")


def assert_same(one: Dataset, other: Dataset, split: str) -> None:
    mine = {sample.path.name: sample for sample in one.splits[split]}
    theirs = {sample.path.name: sample for sample in other.splits[split]}
    assert mine.keys() == theirs.keys()
    for name, sample in mine.items():
        twin = theirs[name]
        assert (sample.width, sample.height) == (twin.width, twin.height)
        assert len(sample.boxes) == len(twin.boxes)
        if len(sample.boxes):
            apart = np.abs(sample.boxes[:, None] - twin.boxes[None]).max(2)  # (mine, theirs), in pixels
            apart[sample.classes[:, None] != twin.classes[None]] = np.inf
            assert max(apart.min(0).max(), apart.min(1).max()) < 2e-3, name


@pytest.mark.parametrize("layout", ["data_fewshot10.yaml", "data_grouped.yaml"])
def test_lists_are_relative_to_their_own_folder(shared: Path, layout: str) -> None:
    data = open_dataset(shared / "datasets" / "neu-det" / layout)
    assert not data.problems
    assert len(data.splits["train"]) == (60 if "fewshot" in layout else 1260)


def test_yolo_box_in_pixels(tmp_path: Path) -> None:
    (sample,) = open_dataset(yolo(tmp_path, ["2 0.5 0.5 0.25 0.5\n"])).splits["train"]
    np.testing.assert_array_equal(sample.boxes, [[24, 12, 40, 36]])
    assert sample.classes.tolist() == [2]
    assert (sample.boxes.dtype, sample.classes.dtype) == (np.float32, np.int64)


def test_yolo_box_partly_outside_is_clipped(tmp_path: Path) -> None:
    data = open_dataset(yolo(tmp_path, ["0 0 0.5 0.5 0.5\n"]))
    np.testing.assert_array_equal(data.splits["train"][0].boxes, [[0, 12, 16, 36]])
    assert not data.problems


def test_yolo_polygon_becomes_its_box(tmp_path: Path) -> None:
    (sample,) = open_dataset(yolo(tmp_path, ["1 0.25 0.5 0.5 0.25 0.75 0.75\n"])).splits["train"]
    np.testing.assert_array_equal(sample.boxes, [[16, 12, 48, 36]])


def test_pictures_without_boxes_stay(tmp_path: Path) -> None:
    data = yolo(tmp_path, ["0 0.5 0.5 0.5 0.5\n", ""])
    picture(tmp_path / "images/train/no_label_file.png")
    samples = open_dataset(data).splits["train"]
    assert [len(sample.boxes) for sample in samples] == [1, 0, 0]
    assert samples[1].boxes.shape == (0, 4)


@pytest.mark.parametrize("path", ["data.yaml", "./data.yaml", "."])
def test_the_working_directory_may_be_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    yolo(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert [len(sample.boxes) for sample in open_dataset(path).splits["train"]] == [1, 1]


def test_only_the_last_images_folder_becomes_labels() -> None:
    assert label_path(Path("/images/a/images/train/x.1.png")) == Path("/images/a/labels/train/x.1.txt")
    assert label_path(Path("images/x.png")) == Path("labels/x.txt")
    assert label_path(Path("my_images/x.png")) == Path("my_images/x.txt")


def test_names_as_a_map_and_several_folders(tmp_path: Path) -> None:
    data = yolo(tmp_path, names="{1: dent, 0: scratch, 2: stain}", train="[images/train, images/more]")
    picture(tmp_path / "images/more/x.png")
    dataset = open_dataset(data)
    assert dataset.names == ("scratch", "dent", "stain")
    assert len(dataset.splits["train"]) == 3
    assert not dataset.problems, "a folder of negatives needs no folder of labels"


def test_an_absolute_folder_is_another_root(tmp_path: Path) -> None:
    yolo(tmp_path / "line2")
    data = yolo(tmp_path / "line1", train=f"[images/train, {tmp_path}/line2/images/train]")
    assert len(open_dataset(data).splits["train"]) == 4


def test_roboflow_writes_one_folder_up_and_means_this_one(tmp_path: Path) -> None:
    assert len(open_dataset(yolo(tmp_path / "data", train="../images/train")).splits["train"]) == 2


def test_yaml_may_point_at_coco_files(tmp_path: Path) -> None:
    coco(tmp_path / "good", [annotation()])
    (tmp_path / "defects.yaml").write_text(
        "train: good/a.json\nval: {json: labels/v.json, images: good}\nnames: [dent, scratch]\n"
    )
    (tmp_path / "labels").mkdir()
    (tmp_path / "good/a.json").rename(tmp_path / "labels/v.json")
    coco(tmp_path / "good", [annotation()])
    data = open_dataset(tmp_path)
    assert data.names == ("dent", "scratch")
    assert [split[0].classes.tolist() for split in data.splits.values()] == [[1], [1]], "matched by name, not by id"


def test_coco_ids_with_gaps_come_in_order(tmp_path: Path) -> None:
    rows = [annotation(1, category_id=7), annotation(2, category_id=3, image_id=2)]
    data = open_dataset(coco(tmp_path, rows, categories=[{"id": 7, "name": "dent"}, {"id": 3, "name": "scratch"}]))
    assert data.names == ("scratch", "dent")
    assert [sample.classes.tolist() for sample in data.splits["train"]] == [[1], [0]]


def test_coco_crowd_and_ignore_are_regions_not_boxes(tmp_path: Path) -> None:
    rows = [annotation(1), annotation(2, iscrowd=1, bbox=[0, 0, 30, 30], category_id=4), annotation(3, ignore=1)]
    data = open_dataset(coco(tmp_path, rows, categories=[{"id": 3, "name": "dent"}, {"id": 4, "name": "pit"}]))
    sample = data.splits["train"][0]
    assert len(sample.boxes) == 1
    assert sample.ignored_classes.tolist() == [1, 0]
    assert data.only(["pit"]).splits["train"][0].ignored_classes.tolist() == [0]
    np.testing.assert_array_equal(sample.ignored, [[0, 0, 30, 30], [4, 4, 24, 14]])


def test_coco_masks_become_boxes(tmp_path: Path) -> None:
    polygon = annotation(1, bbox=[], segmentation=[[4, 5, 14, 5, 9, 25]])
    runs = {"size": [48, 64], "counts": [48 * 3 + 2, 5, 43, 5, 48 * 64 - 48 * 3 - 55]}
    encoded = annotation(2, bbox=None, segmentation=runs)
    sample = open_dataset(coco(tmp_path, [polygon, encoded])).splits["train"][0]
    np.testing.assert_array_equal(sample.boxes, [[4, 5, 14, 25], [3, 2, 5, 7]])


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_agree_with_pycocotools(seed: int) -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    mask = np.zeros((37, 53), np.uint8, order="F")
    for _ in range(3):
        y, x = rng.integers(0, 30), rng.integers(0, 45)
        mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = rng.integers(0, 2)
    mask[rng.integers(0, 37), rng.integers(0, 53)] = 1
    encoded = mask_tools.encode(mask)
    ys, xs = mask.nonzero()
    box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
    assert mask_box({"size": encoded["size"], "counts": encoded["counts"].decode()}) == box


def test_coco_folder_with_one_file_a_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        coco(tmp_path / split, [annotation()]).rename(tmp_path / split / "_annotations.coco.json")
    data = open_dataset(tmp_path)
    assert {split: len(samples) for split, samples in data.splits.items()} == {"train": 2, "val": 2}


@pytest.mark.parametrize(
    ("name", "split"),
    [("latest.json", "train"), ("instances_val2017.json", "val"), ("validation.json", "val"), ("a_test.json", "test")],
)
def test_the_split_is_a_word_of_the_name(tmp_path: Path, name: str, split: str) -> None:
    """And the dataset's own folder, `test_...` here, says nothing."""
    coco(tmp_path, [annotation()]).rename(tmp_path / name)
    assert set(open_dataset(tmp_path).splits) == {split}


def test_voc_counts_pixels_from_one_and_difficult_is_ignored(tmp_path: Path) -> None:
    objects = voc_object("dent", 1, 1, 64, 48) + voc_object("pit", 5, 5, 9, 9, "<difficult>1</difficult>")
    (sample,) = open_dataset(voc(tmp_path, objects)).splits["train"]
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 64, 48]])
    np.testing.assert_array_equal(sample.ignored, [[4, 4, 9, 9]])
    assert sample.ignored_classes.tolist() == [1]


def test_voc_lists_give_the_splits(tmp_path: Path) -> None:
    for name in "abc":
        voc(tmp_path, voc_object("dent", 1, 1, 9, 9), name)
    for split, stems in (("train", "a\nb\n"), ("val", "c\n")):
        listed = tmp_path / "ImageSets/Main" / f"{split}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(stems)
    data = open_dataset(tmp_path)
    assert {split: [s.path.stem for s in samples] for split, samples in data.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }


def test_voc_beside_the_pictures(tmp_path: Path) -> None:
    for split in ("train", "test"):
        home = voc(tmp_path / "made" / split, voc_object("dent", 1, 1, 9, 9))
        for file in [*home.glob("*/*")]:
            (tmp_path / split).mkdir(exist_ok=True)
            file.rename(tmp_path / split / file.name)
    assert set(open_dataset(tmp_path).splits) == {"train", "test"}


@pytest.mark.slow
def test_a_million_boxes_open_in_little_memory(tmp_path: Path) -> None:
    """1,000,000 boxes on 2,000 pictures: at most 30 s and 2 GiB, in a process of its own."""
    import os
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    first = picture(tmp_path / "0.png")
    for number in range(1, 2000):
        os.link(first, tmp_path / f"{number}.png")
    boxes = (rng.random((1_000_000, 4)) * (40, 30, 20, 15) + (0, 0, 1, 1)).round(2).tolist()
    rows = [annotation(i, image_id=i % 2000, bbox=box, iscrowd=0, area=99.5) for i, box in enumerate(boxes)]
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(2000)]
    with (tmp_path / "a.json").open("w") as file:
        json.dump({"images": images, "annotations": rows, "categories": [{"id": 3, "name": "dent"}]}, file)
    code = """if True:
        import sys, time
        from pathlib import Path
        from vision_lora.datasets import open_dataset
        start = time.process_time()  # of one thread: what other programs take does not count
        samples = open_dataset(sys.argv[1]).splits["train"]
        seconds = time.process_time() - start
        # Not getrusage's: what the starting process had at its most counts in that.
        most = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        print(sum(len(s.boxes) for s in samples), seconds, int(most.split()[1]) / 2**20)
    """
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.json")], capture_output=True, text=True, check=True
    )
    count, seconds, gibibytes = map(float, told.stdout.split())
    assert count == 1_000_000
    assert seconds < 30
    assert gibibytes < 2


def test_some_of_the_classes_in_their_own_order(tmp_path: Path) -> None:
    labels = ["0 0.5 0.5 0.5 0.5\n2 0.25 0.25 0.5 0.5\n", "1 0.5 0.5 0.25 0.25\n"]
    data = open_dataset(yolo(tmp_path, labels))
    some = data.only(["stain", "scratch"])
    assert some.names == ("scratch", "stain")
    assert [sample.classes.tolist() for sample in some.splits["train"]] == [[0, 1], []]
    np.testing.assert_array_equal(some.splits["train"][0].boxes, data.splits["train"][0].boxes)
    assert len(data.splits["train"][1].boxes) == 1
    for names in (["scratch", "rust"], []):
        with pytest.raises(DataError, match=r"no class .*; expected some of scratch, dent, stain"):
            data.only(names)
