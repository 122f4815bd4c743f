"""mAP: hand-computed cases, and pycocotools run the way its authors do, through files."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vision_lora.datasets import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.evaluation.coco_map import coco_map
from vision_lora.evaluation.matches import match, mean_average_precision
from vision_lora.pictures.detections import Detections

NAMES = ("crazing", "inclusion", "scratches")


def sample(boxes: Sequence[Sequence[float]], classes: Sequence[int]) -> Sample:
    return Sample(Path("plate.jpg"), 400, 400, np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64))


def detections(
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    classes: Sequence[int],
    names: tuple[str, ...] = NAMES,
    general: int = 0,
) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        names,
        general,
    )


def perfect(truth: Sample) -> Detections:
    return detections(truth.boxes.tolist(), [0.9] * len(truth.boxes), truth.classes.tolist())


def random_case(seed: int, pictures: int = 12) -> tuple[list[Detections], list[Sample]]:
    """Boxes of all three COCO sizes, detections that hit, miss, and take the wrong class."""
    rng = np.random.default_rng(seed)
    found, samples = [], []
    for _ in range(pictures):
        n = int(rng.integers(0, 6))
        corner = rng.uniform(0, 200, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 180, (n, 2))], axis=1)
        classes = rng.integers(0, 2, n)  # no ground truth for the last class
        samples.append(sample(boxes.tolist(), classes.tolist()))
        shifted = np.repeat(boxes, 3, axis=0) + rng.normal(0, 8, (3 * n, 4))
        shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2] + 1)
        guessed = np.where(rng.uniform(size=3 * n) < 0.8, np.repeat(classes, 3), rng.integers(0, 3, 3 * n))
        found.append(detections(shifted.tolist(), np.sort(rng.uniform(size=3 * n))[::-1].tolist(), guessed.tolist()))
    return found, samples


def stats_through_files(found: list[Detections], samples: list[Sample], folder: Path) -> list[float]:
    """COCOeval's twelve numbers, with ground truth and results written to and read from files."""

    def xywh(box: list[float]) -> list[float]:
        x1, y1, x2, y2 = box
        return [x1, y1, x2 - x1, y2 - y1]

    truth = [
        {"image_id": i, "category_id": int(c) + 1, "bbox": xywh(b), "iscrowd": 0}
        for i, s in enumerate(samples)
        for b, c in zip(s.boxes.tolist(), s.classes, strict=True)
    ]
    for identity, annotation in enumerate(truth, 1):
        annotation |= {"id": identity, "area": annotation["bbox"][2] * annotation["bbox"][3]}
    results = [
        {"image_id": i, "category_id": int(c) + 1, "bbox": xywh(b), "score": score}
        for i, d in enumerate(found)
        for b, score, c in zip(d.boxes.tolist(), d.scores.tolist(), d.classes, strict=True)
    ]
    (folder / "truth.json").write_text(
        json.dumps(
            {
                "images": [{"id": i, "width": s.width, "height": s.height} for i, s in enumerate(samples)],
                "categories": [{"id": c, "name": name} for c, name in enumerate(NAMES, 1)],
                "annotations": truth,
            }
        )
    )
    (folder / "results.json").write_text(json.dumps(results))
    reference = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(reference, reference.loadRes(str(folder / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


def test_perfect_detections_score_one() -> None:
    samples = [sample([[0, 0, 20, 20], [50, 50, 100, 100]], [0, 1]), sample([[0, 0, 200, 200]], [2]), sample([], [])]
    result = coco_map([perfect(s) for s in samples], samples, NAMES)
    measured = (result.map50_95, result.map50, result.map75, result.small, result.medium, result.large)
    assert measured == pytest.approx((1,) * 6)
    assert [c.map50 for c in result.per_class.values()] == pytest.approx([1, 1, 1])


def test_hand_computed_case() -> None:
    """Best first: an exact hit, a miss, and a box of IoU 0.72, of two objects.

    Up to IoU 0.70 precision is 1 for the 51 recall points 0 to 0.50 and 2/3 for the 50 beyond; from 0.75 on only the
    first half of the recall is reached.
    """
    truth = sample([[0, 0, 50, 50], [100, 100, 200, 200]], [0, 0])
    found = detections([[0, 0, 50, 50], [300, 300, 350, 350], [100, 100, 200, 172]], [0.9, 0.8, 0.7], [0, 0, 0])
    loose, tight = (51 + 50 * 2 / 3) / 101, 51 / 101
    result = coco_map([found], [truth], NAMES)
    assert (result.map50, result.map75) == pytest.approx((loose, tight))
    assert result.map50_95 == pytest.approx((loose + tight) / 2)
    assert result.small is None
    assert result.per_class["crazing"].boxes == 2
    assert result.per_class["crazing"].images == 1


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_through_files(seed: int, tmp_path: Path) -> None:
    found, samples = random_case(seed)
    result = coco_map(found, samples, NAMES)
    ours = [result.map50_95, result.map50, result.map75, result.small, result.medium, result.large]
    theirs = stats_through_files(found, samples, tmp_path)[:6]
    assert 0 < result.map50_95 < 1
    assert [-1 if value is None else value for value in ours] == pytest.approx(theirs, abs=1e-12)


def coco_case(seed: int, folder: Path) -> tuple[Path, list[dict[str, object]]]:
    """A COCO file as they come, and results: crowds of several classes, areas of outlines, ids with gaps, equal
    scores, pictures without a box, and more than a hundred detections of a class in a picture."""
    rng = np.random.default_rng(seed)
    images = [{"id": 7 * i + 3, "file_name": f"{i}.png", "width": 400, "height": 300} for i in range(5)]
    Image.new("RGB", (400, 300)).save(folder / "0.png")
    for i in range(1, 5):
        os.link(folder / "0.png", folder / f"{i}.png")
    truth: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for i, image in enumerate(images):
        for _ in range(0 if i == 2 else int(rng.integers(3, 9))):
            x, y, w, h = (int(v) for v in (*rng.integers(0, 200, 2), *rng.integers(8, 100, 2)))
            kind, crowd = int(rng.choice([2, 5, 9])), int(rng.random() < 0.3)
            mask = {"size": [300, 400], "counts": [0, 120000]} if crowd else []
            row = {"image_id": image["id"], "category_id": kind, "bbox": [x, y, w, h], "iscrowd": crowd}
            truth.append(row | {"id": len(truth) + 1, "area": float(w * h * rng.uniform(0.3, 1)), "segmentation": mask})
            for _ in range(3):
                near = np.maximum(np.add((x, y, w, h), rng.integers(-8, 9, 4)), 2).tolist()
                guess = kind if rng.random() < 0.7 else int(rng.choice([2, 5, 9]))
                results.append(row | {"bbox": near, "category_id": guess, "score": float(rng.integers(1, 9)) / 8})
    for place in range(120 if seed % 2 else 0):
        box = [place, place, 20, 20]
        results.append({"image_id": 3, "category_id": 2, "bbox": box, "score": float(rng.integers(1, 9)) / 8})
    categories = [{"id": 9, "name": "dent"}, {"id": 2, "name": "pit"}, {"id": 5, "name": "stain"}]
    file = folder / "truth.json"
    file.write_text(json.dumps({"info": {}, "images": images, "categories": categories, "annotations": truth}))
    return file, results


@pytest.mark.parametrize("seed", range(6))
def test_a_coco_file_scores_as_in_pycocotools(seed: int, tmp_path: Path) -> None:
    file, results = coco_case(seed, tmp_path)
    reference = COCO(str(file))
    evaluation = COCOeval(reference, reference.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    data = open_dataset(file)
    place = {2: 0, 5: 1, 9: 2}
    found = []
    for i in range(5):
        rows = sorted((row for row in results if row["image_id"] == 7 * i + 3), key=lambda row: -row["score"])
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (row["bbox"] for row in rows)]
        kinds = [place[row["category_id"]] for row in rows]
        found.append(detections(boxes, [row["score"] for row in rows], kinds, data.names))
    result = coco_map(found, data.splits["train"], data.names)
    ours = [result.map50_95, result.map50, result.map75, result.small, result.medium, result.large]
    assert [-1 if value is None else value for value in ours] == pytest.approx(list(evaluation.stats[:6]), abs=1e-9)
    every = mean_average_precision(match(found, data.splits["train"], data.names), np.ones((1, 5), np.int64))
    assert every[0] == pytest.approx(evaluation.stats[0], abs=1e-9)
    only = coco_map(found, data.only(["stain"]).splits["train"], ["stain"])
    assert only.per_class["stain"] == result.per_class["stain"]


def test_only_the_hundred_best_of_a_class_count() -> None:
    truth = sample([[0, 0, 50, 50]], [0])
    misses = [[200.0, 200.0, 250.0, 250.0]] * 100
    found = detections([*misses, [0, 0, 50, 50]], [*np.linspace(0.9, 0.5, 100), 0.1], [0] * 101)
    assert coco_map([found], [truth], NAMES).map50 == 0


def test_classes_are_matched_by_name() -> None:
    found, samples = random_case(7)
    order = [2, 0, 1]  # detector's position of each dataset class, behind one class of its own
    names = ("person", *(NAMES[order.index(place)] for place in range(3)))
    renamed = [
        detections(d.boxes.tolist(), d.scores.tolist(), [order[c] + 1 for c in d.classes], names, general=1)
        for d in found
    ]
    assert coco_map(renamed, samples, NAMES) == coco_map(found, samples, NAMES)


def test_detections_of_other_classes_do_not_count() -> None:
    truth = sample([[0, 0, 50, 50]], [0])
    found = detections([[0, 0, 50, 50], [0, 0, 50, 50]], [0.99, 0.5], [0, 1], ("person", "crazing"), general=1)
    assert coco_map([found], [truth], NAMES).map50_95 == pytest.approx(1)


def test_class_without_ground_truth_is_left_out_of_the_mean() -> None:
    truth = sample([[0, 0, 50, 50]], [0])
    found = detections([[0, 0, 50, 50], [0, 0, 50, 50]], [0.9, 0.9], [0, 1])
    result = coco_map([found], [truth], NAMES)
    assert result.map50_95 == pytest.approx(1)
    assert (result.per_class["inclusion"].map50_95, result.per_class["inclusion"].map50) == (None, None)
    assert result.per_class["inclusion"].boxes == 0


def test_ignored_regions_are_neither_right_nor_wrong() -> None:
    truth = sample([[0, 0, 50, 50]], [0])
    crowd = replace(truth, ignored=np.array([[200, 200, 380, 380]], np.float32), ignored_classes=np.array([0]))
    found = [detections([[210, 210, 260, 260], [0, 0, 50, 50]], [0.9, 0.8], [0, 0])]
    assert coco_map(found, [truth], NAMES).map50 == pytest.approx(0.5)
    assert coco_map(found, [crowd], NAMES).map50 == pytest.approx(1.0)
    assert coco_map(found, [crowd], NAMES).per_class["crazing"].boxes == 1
    other = replace(crowd, ignored_classes=np.array([1]))
    assert coco_map(found, [other], NAMES).map50 == pytest.approx(0.5), "a crowd of one class forgives another"


def test_no_detections_score_zero() -> None:
    result = coco_map([detections([], [], [])], [sample([[0, 0, 50, 50]], [0])], NAMES)
    assert (result.map50_95, result.map50, result.map75) == (0, 0, 0)


def test_result_is_json() -> None:
    found, samples = random_case(1)
    result = coco_map(found, samples, NAMES).to_json()
    assert json.loads(json.dumps(result)) == result
    assert list(result) == ["map50_95", "map50", "map75", "small", "medium", "large", "per_class"]
    assert list(result["per_class"]["crazing"]) == ["map50_95", "map50", "boxes", "images"]


def test_only_pycocotools_is_silenced(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress display that another thread draws meanwhile must not vanish."""
    accumulate = COCOeval.accumulate

    def interrupted(self: COCOeval) -> None:
        print("from elsewhere")
        accumulate(self)

    monkeypatch.setattr(COCOeval, "accumulate", interrupted)
    found, samples = random_case(1)
    coco_map(found, samples, NAMES)
    assert capsys.readouterr().out == "from elsewhere\n"
    COCO().createIndex()  # afterwards it speaks again
    assert "index created" in capsys.readouterr().out


@pytest.mark.parametrize("samples", [[], [sample([], [])]])
def test_no_ground_truth_is_an_error(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="no ground-truth box"):
        coco_map([detections([], [], [])] * len(samples), samples, NAMES)


def test_class_id_outside_the_names_is_an_error() -> None:
    with pytest.raises(DataError, match=r"plate\.jpg: class id 3 is outside 0 to 2"):
        coco_map([detections([], [], [])], [sample([[0, 0, 9, 9]], [3])], NAMES)
    crowd = replace(sample([[0, 0, 9, 9]], [0]), ignored=np.ones((1, 4), "f4"), ignored_classes=np.array([4]))
    with pytest.raises(DataError, match=r"plate\.jpg: class id 4 is outside 0 to 2"):
        coco_map([detections([], [], [])], [crowd], NAMES)


def test_repeated_name_is_an_error() -> None:
    with pytest.raises(DataError, match="found twice: a"):
        coco_map([detections([], [], [])], [sample([[0, 0, 9, 9]], [0])], ["a", "b", "a"])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="pair up"):
        coco_map([], [sample([[0, 0, 9, 9]], [0])], NAMES)
