"""Runs on data without val: a part is held out, and it is said which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.build import annotation, coco, picture
from tests.training import tiny
from vision_lora.training.loop.listener import Brief
from vision_lora.training.samples import open_samples


class Watch(tiny.Watch):
    def started(self, brief: Brief) -> None:
        self.brief = brief


pytestmark = pytest.mark.usefixtures("without_plots")


def test_one_json_gives_a_part_and_its_list_lies_in_the_folder_of_the_run(tmp_path: Path) -> None:
    images = [{"id": index, "file_name": f"{index}.png", "width": 64, "height": 48} for index in range(1, 11)]
    boxes = [annotation(index, image_id=index, category_id=(3, 7)[index % 2]) for index in range(1, 11)]
    for index in range(1, 11):
        picture(tmp_path / f"{index}.png", seed=index)
    config = tiny.options(coco(tmp_path, boxes, images=images), tmp_path / "run", epochs=1)
    watch = Watch()
    tiny.run(config, watch)
    listed = (tmp_path / "run" / "val.txt").read_text().splitlines()
    opened = open_samples(config)
    assert listed == [str(sample.path) for sample in opened.val]
    assert len(listed) == 2
    assert f"held out of train (listed in {tmp_path / 'run' / 'val.txt'})" in watch.brief.lines["data"]


def test_no_list_where_the_dataset_has_val(tmp_path: Path) -> None:
    watch = Watch()
    tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", epochs=1), watch)
    assert not (tmp_path / "run" / "val.txt").exists()
    assert "held out" not in watch.brief.lines["data"]


def test_yes_writes_the_yaml_and_goes_on(tmp_path: Path) -> None:
    """And the next run, with or without it, learns from the same pictures."""
    tiny.data(tmp_path / "data").unlink()
    config = tiny.options(tmp_path / "data", tmp_path / "run", epochs=1, yes=True)
    tiny.run(config)
    again = tiny.replace(config, yes=False, seed=7)
    assert [sample.path for sample in open_samples(again).val] == [sample.path for sample in open_samples(config).val]
    assert len(open_samples(again).val) == 2
