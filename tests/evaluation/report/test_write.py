"""The report's files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.build import picture
from tests.evaluation.build import NAMES, random_pictures
from vision_lora.datasets.sample import Sample
from vision_lora.errors import ConfigError
from vision_lora.evaluation.assessment import Assessment
from vision_lora.evaluation.coco_map import coco_map
from vision_lora.evaluation.report.write import check_report, write_report
from vision_lora.pictures.detections import Detections


def assessment(folder: Path, names: tuple[str, ...] = NAMES) -> Assessment:
    """Of thirty pictures, of which three can be read."""
    found, samples = random_pictures(0)
    samples = [replace(one, path=folder / "pictures" / f"a & <b> {one.path.name}") for one in samples]
    for one in samples[:3]:
        picture(one.path, (320, 320))
    found = [replace(one, names=names) for one in found]
    result = coco_map(found, samples, names)
    thresholds = {names[0]: 0.3}
    return Assessment.of(
        found, samples, result, thresholds=thresholds, rule="by hand", groups=list(map(str, range(30)))
    )


def test_the_page_holds_all_and_links_to_the_pictures(tmp_path: Path) -> None:
    one = assessment(tmp_path, ("<pit>", "dent", "stain"))
    page = write_report(one, tmp_path / "new" / "report", "val <1>", ["note & more"]).read_text("utf-8")
    assert "<pit>" not in page
    assert "&lt;pit&gt;" in page
    assert "note &amp; more" in page
    assert page.count("<svg") == 6
    assert page.count("data:image/jpeg") == 2 * sum(mistake.picture < 3 for mistake in one.mistakes[:48])
    assert 'href="../../pictures/a%20%26%20%3Cb%3E%20' in page
    assert "src='data:" in page
    assert "<script" not in page
    assert "src='http" not in page


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    one = assessment(tmp_path)
    write_report(one, tmp_path / "r", "val")
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    rows = list(csv.DictReader((tmp_path / "r" / "classes.csv").open()))
    assert [row["class"] for row in rows] == list(NAMES)
    for row in rows:
        values = told["classes"][row["class"]]
        assert float(row["recall"]) == values["recall"]
        assert values["recall"] == pytest.approx(1 - values["missed"] / values["boxes"])
    assert np.sum(told["confusion"]["matrix"]) > 0
    assert sum(values["boxes"] for values in told["by_size"].values()) == sum(map(int, (row["boxes"] for row in rows)))
    assert len(list(csv.DictReader((tmp_path / "r" / "mistakes.csv").open()))) == told["mistakes"] == len(one.mistakes)
    parts = list(csv.DictReader((tmp_path / "r" / "parts.csv").open()))
    assert sum(int(part["bad"]) for part in parts) == told["parts"]["bad"]["count"]
    assert told["rule"] == "by hand"
    assert told["thresholds"] == {"pit": 0.3, "dent": 0.25, "stain": 0.25}


def test_mistakes_in_tiles_are_told_in_pixels_of_the_picture(tmp_path: Path) -> None:
    box = np.array([[10, 20, 30, 50]], np.float32)
    sample = Sample(tmp_path / "a.png", 64, 64, box, np.array([0]), window=(100, 200, 164, 264))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), NAMES, 0)
    result = coco_map([nothing], [sample], NAMES)
    write_report(Assessment.of([nothing], [sample], result, thresholds={}, rule="none", groups=["a"]), tmp_path, "val")
    (row,) = csv.DictReader((tmp_path / "mistakes.csv").open())
    assert [float(row[name]) for name in ("x1", "y1", "x2", "y2")] == [110, 220, 130, 250]


def test_nothing_found_and_no_good_part_is_a_report_too(tmp_path: Path) -> None:
    _, samples = random_pictures(1)
    samples = [one for one in samples if len(one.boxes)]
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), NAMES, 0)
    found = [nothing] * len(samples)
    result = coco_map(found, samples, NAMES)
    groups = [str(one.path) for one in samples]
    one = Assessment.of(found, samples, result, thresholds={}, rule="none", groups=groups)
    page = write_report(one, tmp_path, "val").read_text("utf-8")
    assert "no good part among" in page
    assert "no pit is found at its threshold, 0.25" in page


def test_a_place_that_takes_no_report_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--report .*report\.html"):
        check_report("report", str(tmp_path / "file"))
    assert check_report("report", str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
