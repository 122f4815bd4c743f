"""Several sources, and patterns: each file once, in order, under a name that no other has; what is left out is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.build import picture
from vision_lora.errors import DataError
from vision_lora.options.camera import CameraConfig
from vision_lora.streaming.settings import read_sources
from vision_lora.streaming.sources import several
from vision_lora.streaming.sources.several import common_folder, expand, open_sources, unique


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two lines whose pictures have the same names."""
    for name in ("line1/1.png", "line1/2.png", "line2/1.png", "line2/deep/3.png"):
        picture(tmp_path / name, size=(8, 8))
    (tmp_path / "line1" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources: str) -> list[str]:
    return [frame.name for frame in open_sources(sources)]


@pytest.mark.usefixtures("plant")
@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["line1"], ["1.png", "2.png"]),
        (["line2/1.png", "line1/1.png"], ["line2/1.png", "line1/1.png"]),
        (["line2", "line1/2.png"], ["line2/1.png", "line2/deep/3.png", "line1/2.png"]),
        (["line1/2.png", "line1", "./line1/../line1/1.png"], ["2.png", "1.png"]),
        (["line?/1.png"], ["line1/1.png", "line2/1.png"]),
        (["line[12]"], ["line1/1.png", "line1/2.png", "line2/1.png", "line2/deep/3.png"]),
        (["line1/*"], ["1.png", "2.png"]),
        (["**/*.png"], ["line1/1.png", "line1/2.png", "line2/1.png", "line2/deep/3.png"]),
        (["line2/**/3.png"], ["3.png"]),
    ],
)
def test_each_file_is_read_once_in_the_order_given_under_a_name_of_its_own(
    sources: list[str], expected: list[str]
) -> None:
    assert names(*sources) == expected


def test_a_pattern_gives_what_a_shell_would_give(plant: Path) -> None:
    expanded = sorted(str(path) for path in (plant / "line1").iterdir())
    quoted, unquoted = open_sources([str(plant / "line1" / "*")]), open_sources(expanded)
    assert list(quoted.files) == list(unquoted.files)
    assert quoted.left_out == unquoted.left_out
    assert quoted.left_out == [f"{plant / 'line1' / 'notes.txt'}: neither picture nor video by its ending"]


def test_signs_in_a_files_own_name_are_no_pattern(plant: Path) -> None:
    picture(plant / "[1].png", size=(8, 8))
    picture(plant / "1.png", size=(8, 8))
    assert expand("[1].png") == ["[1].png"]
    assert expand("[12].png") == ["1.png"]


@pytest.mark.usefixtures("plant")
@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["line1/*.jpg"], "line1/*.jpg: no file and no folder matches; expected one"),
        (["line1", "line9"], "line9: no such file or folder; expected a picture"),
        (["line1/notes.txt", "empty"], "line1/notes.txt and 1 more: no picture and no video"),
        (["line1/1.png", "truth.json"], "truth.json: a COCO file beside other sources"),
    ],
)
def test_what_cannot_be_read_is_told_before_the_work(sources: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("truth.json").write_text(json.dumps({"images": [{"id": 9, "file_name": "line1/1.png"}], "annotations": []}))
    with pytest.raises(DataError) as caught:
        open_sources(sources)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_results_are_no_sources(plant: Path) -> None:
    picture(plant / "out" / "1.png", size=(8, 8))
    source = open_sources([str(plant / "*")], results=[plant / "out"])
    assert [frame.name.partition("/")[0] for frame in source] == ["line1", "line1", "line2", "line2"]
    assert f"the folder {plant / 'out'}: results are in it" in source.left_out


def test_files_on_two_drives_have_no_common_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(several.os.path, "commonpath", none)
    with pytest.raises(DataError, match="on two drives; expected sources on one at a time"):
        common_folder([Path("/a/1.png"), Path("/b/1.png")])


@pytest.mark.usefixtures("plant")
def test_the_camera_takes_the_same_patterns_each_match_as_a_source() -> None:
    def watched(*given: str) -> list[str]:
        config = CameraConfig(model="m", source=list(given))
        return [f"{source.name}={source.address.target}" for source in read_sources(config)]

    assert watched("line?", "line1", "0") == ["line1=line1", "line2=line2", "camera-0=0"]
    assert watched("line1", "line2/../line1") == ["line1=line1"]
    assert watched("http://host/a?b=[1]*") == ["host=http://host/a?b=[1]*"]
    with pytest.raises(DataError, match="no file and no folder matches"):
        watched("line9*")
    assert read_sources(CameraConfig(model="m", source="line1"))[0].name == "line1"


def test_a_path_is_one_however_it_is_written() -> None:
    assert unique(["a/1.png", "b.png", "a/../a/1.png", "./b.png"]) == ["a/1.png", "b.png"]
