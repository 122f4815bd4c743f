"""Class names from every format, by one rule: what comes in can be written and read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.build import coco, voc, voc_object, yolo
from tests.text.test_names import SOUND, UNSOUND
from vision_lora.check import main as check
from vision_lora.datasets import open_dataset
from vision_lora.datasets.checking.check import check_dataset
from vision_lora.datasets.checking.fix import write_fixed
from vision_lora.errors import DataError
from vision_lora.evaluate import main as evaluate
from vision_lora.text.names import twins, unfit
from vision_lora.train import main as train


def quoted(names: Sequence[str]) -> str:
    return json.dumps(list(names))


def of_coco(root: Path, names: Sequence[object]) -> Path:
    return coco(root, categories=[{"id": 3 * place + 1, "name": name} for place, name in enumerate(names)])


def of_voc(root: Path, names: Sequence[str]) -> Path:
    made = voc(root, "")
    (root / "classes.txt").write_text("\n".join(names), encoding="utf-8")
    return made


@pytest.mark.parametrize(
    "text",
    [
        "[ok, no]",
        "[010, 0x1F]",
        "[1:30, on]",
        "[no, off]",
        "[null, ~]",
        "[1e3, 2.50]",
        "[2026-01-02, 1_000]",
        "[=, <<]",
    ],
)
def test_yaml_names_are_the_text_that_stands_there(tmp_path: Path, text: str) -> None:
    names = tuple(text.strip("[]").split(", "))
    assert open_dataset(yolo(tmp_path / "list", names=text)).names == names
    table = f"\n  0: {names[0]}\n  1: {names[1]}"
    assert open_dataset(yolo(tmp_path / "table", names=table)).names == names


def test_a_key_that_stands_twice_is_doubted_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The library tells it and reads the first; no verb learns or measures on a guess."""
    data = yolo(tmp_path)
    data.write_text(data.read_text() + "names: [dent, scratch, stain]\n")
    opened = open_dataset(data)
    assert opened.names != ("dent", "scratch", "stain")
    with pytest.raises(DataError, match=r"data\.yaml, line 4: the key 'names' stands twice"):
        opened.sure()
    for verb, words in ((check, []), (evaluate, ["--model", "starter"]), (train, ["--out", str(tmp_path / "run")])):
        assert verb(["--data", str(data), *words]) == 2
        assert "line 4: the key 'names' stands twice; expected each key once" in capsys.readouterr().err
    data.write_text("path: .\ntrain: images/train\nnames:\n  0: a\n  1: b\n  2: c\n  0: d\n")
    with pytest.raises(DataError, match=r"data\.yaml, line 7: the key '0' stands twice"):
        open_dataset(data).sure()


@pytest.mark.parametrize("name", [name for name in SOUND if name != "a,b"])
def test_sound_names_come_in_unchanged(tmp_path: Path, name: str) -> None:
    written = yolo(tmp_path / "yolo")
    written.write_text(f"path: .\ntrain: images/train\nnames: {json.dumps([name, 'b'], ensure_ascii=False)}\n", "utf-8")
    assert open_dataset(written).names == (name, "b")
    assert open_dataset(of_coco(tmp_path, [name, "b"])).names == (name, "b")
    assert open_dataset(of_voc(tmp_path / "voc", [name, "b"])).names == (name, "b")


@pytest.mark.parametrize(("name", "reason"), UNSOUND.items(), ids=map(ascii, UNSOUND.values()))
def test_unsound_names_are_refused_before_any_work(tmp_path: Path, name: str, reason: str) -> None:
    for data in (yolo(tmp_path / "yolo", names=quoted([name, "b"])), of_coco(tmp_path, ["b", name])):
        with pytest.raises(DataError, match=f"{data.name}: class name .* {reason}") as caught:
            open_dataset(data)
        assert "\n" not in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, True, ["a"], {"a": 1}])
def test_what_is_no_text_is_no_name(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match=r"a\.json: class name .* is no text"):
        open_dataset(of_coco(tmp_path, [value]))


def test_space_around_a_name_is_dropped_and_told(tmp_path: Path) -> None:
    data = open_dataset(yolo(tmp_path, names='[" scratch\u3000", dent, stain]'))
    assert data.names == ("scratch", "dent", "stain")
    assert [str(problem) for problem in data.mended] == [
        f"{tmp_path / 'data.yaml'}: class name ' scratch\\u3000'; expected 'scratch', without space around it"
    ]
    with pytest.raises(DataError, match="'scratch' stands twice"):
        open_dataset(of_coco(tmp_path, ["scratch", "scratch "]))


def test_names_that_look_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'deep scratch' and 'deep\\xa0scratch' look the same"):
        open_dataset(of_coco(tmp_path, ["deep scratch", "deep\u00a0scratch"]))
    objects = voc_object("cre\u0301pi", 1, 1, 9, 9) + voc_object("crépi", 1, 1, 9, 9)
    with pytest.raises(DataError, match="look the same"):
        open_dataset(voc(tmp_path / "voc", objects))


def test_a_voc_object_of_an_unsound_name_is_left_out_and_told(tmp_path: Path) -> None:
    data = open_dataset(voc(tmp_path, voc_object("dent", 1, 1, 9, 9) + voc_object("a\u200bb", 1, 1, 9, 9)))
    assert data.names == ("dent",)
    assert "which holds U+200B" in str(data.problems[0])


def test_a_class_that_is_meant_is_named(tmp_path: Path) -> None:
    data = open_dataset(yolo(tmp_path))
    with pytest.raises(DataError, match=r"no class 'Dent' \(did you mean 'dent'\?\)"):
        data.only(["Dent"])
    of_coco(tmp_path / "coco", ["Scratch"])
    yolo(tmp_path / "coco", val="a.json")
    with pytest.raises(DataError, match=r"category 'Scratch' \(did you mean 'scratch'\?\) is not among the names"):
        open_dataset(tmp_path / "coco")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("latest", "train"),
        ("contest_2", "train"),
        ("evaluation", "train"),
        ("instances_val2017", "val"),
        ("Test-set", "test"),
        ("restrained_validation", "val"),
    ],
)
def test_splits_are_told_by_words_of_a_files_name(tmp_path: Path, name: str, split: str) -> None:
    (tmp_path / "data").mkdir()
    coco(tmp_path / "data").rename(tmp_path / "data" / f"{name}.json")
    assert list(open_dataset(tmp_path / "data").splits) == [split]


NAMES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4)


@given(NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_comes_in_is_written_and_read_again(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Either refused in one line, or read; and then the cleaned copy has the same names in the same order."""
    root = tmp_path_factory.mktemp("names")
    source = of_coco(root, names)
    stripped = [name.strip() for name in names]
    if any(map(unfit, stripped)) or twins(stripped):
        with pytest.raises(DataError) as caught:
            open_dataset(source)
        assert str(caught.value).isprintable()
        return
    data = open_dataset(source)
    assert data.names == tuple(stripped)
    write_fixed(check_dataset(data), root / "fixed")
    assert open_dataset(root / "fixed").names == data.names


def test_names_beyond_the_first_plane_survive_a_cleaned_copy(tmp_path: Path) -> None:
    """YAML knows no pair of `\\u` escapes: 𠮷 became two halves of a letter."""
    data = replace(open_dataset(yolo(tmp_path / "in")), names=("𠮷", "🔥", 'a"b\\c'))
    write_fixed(check_dataset(data), tmp_path / "out")
    assert open_dataset(tmp_path / "out").names == data.names


def test_regions_and_areas_need_one_value_a_box(tmp_path: Path) -> None:
    sample = open_dataset(yolo(tmp_path)).splits["train"][0]
    with pytest.raises(ValueError, match="1 boxes, 0 classes or areas; expected one a box"):
        replace(sample, ignored=np.zeros((1, 4), np.float32))
