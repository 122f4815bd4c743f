"""Where results go: what is asked before the work, what is never replaced, and what is kept where there is no place."""

from __future__ import annotations

import errno
import importlib
import json
import os
from pathlib import Path

import pytest
import torch

import vision_lora
from tests.build import picture, small_disk
from vision_lora.errors import ConfigError, OutputError, reason
from vision_lora.system.outputs import (
    check_file,
    check_new_folder,
    earlier_results,
    new_folder,
    results_folder,
    write_json,
    write_result,
    write_text,
    write_torch,
    write_whole,
)

STRANGE = os.fsdecode(b"Kratzer_\xfc")


def test_json_is_not_written_over_what_the_work_reads(tmp_path: Path) -> None:
    coco = tmp_path / "instances.json"
    coco.write_text("{}")
    (tmp_path / "link.json").symlink_to(coco)
    for name in ("instances.json", "link.json"):
        with pytest.raises(ConfigError, match="would be lost"):
            check_file("json", str(tmp_path / name), endings=(".json",), inputs=(None, "gone.pt", coco))
    assert check_file("json", str(tmp_path / "other.json"), inputs=(coco,)) == tmp_path / "other.json"


@pytest.mark.parametrize("name", ["a.jpg", "adapter.safetensors", "best.pt", "data.yaml", "json"])
def test_json_never_takes_the_place_of_another_kind(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a file that ends in \.json"):
        check_file("json", str(tmp_path / name), endings=(".json",))


@pytest.mark.parametrize(
    ("name", "message"),
    [("x" * 260 + ".json", "File name too long"), ("/dev/null/a.json", "folder")],
)
def test_places_that_do_not_exist_are_told_before_the_work(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_file("json", str(tmp_path / name))


def test_a_folder_that_takes_nothing_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only or full disk; the rights of a folder do not stop the superuser."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    told = "No space left on device"
    with pytest.raises(ConfigError, match=told):
        check_file("json", str(tmp_path / "a.json"))
    with pytest.raises(ConfigError, match=told):
        check_file("html", str(tmp_path / "new" / "a.html"), new_parents=True)
    with pytest.raises(ConfigError, match=told):
        check_new_folder("fix", str(tmp_path / "fix"))
    with pytest.raises(ConfigError, match=told):
        new_folder(str(tmp_path / "run"), exist_ok=False)


def test_trying_leaves_nothing_behind(tmp_path: Path) -> None:
    check_file("json", str(tmp_path / "a.json"))
    check_file("html", str(tmp_path / "new" / "a.html"), new_parents=True)
    check_new_folder("fix", str(tmp_path / "new" / "fix"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_no_place_for_a_copy(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for wrong in (tmp_path, tmp_path / "a"):
        with pytest.raises(ConfigError, match="already holds something"):
            check_new_folder("fix", str(wrong))


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("old")
    (tmp_path / "link.json").symlink_to("there.json")
    write_json(tmp_path / "link.json", [1])
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "there.json").read_text()) == [1]


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 250 + ".json")
    assert check_file("json", str(target)) == target
    write_json(target, [])
    assert list(tmp_path.iterdir()) == [target]


def test_what_does_not_fit_is_told_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    with small_disk(100), pytest.raises(OutputError, match=r"a: cannot be written \(File too large\)"):
        write_whole(tmp_path / "a", bytes(101))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_what_was_computed_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "elsewhere"))
    with pytest.raises(OutputError, match=r"kept as .*elsewhere.*found\.json instead") as told:
        write_json(tmp_path / "gone" / "found.json", {"a": 1})
    (kept,) = (tmp_path / "elsewhere").iterdir()
    assert str(kept) in str(told.value)
    assert json.loads(kept.read_text()) == {"a": 1}


def test_nowhere_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with small_disk(10), pytest.raises(OutputError, match="nor anywhere else"):
        write_result(tmp_path / "a", bytes(11))
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf8_can_be_read_again(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [STRANGE])
    assert os.fsencode(json.loads((tmp_path / "a.json").read_bytes())[0]) == b"Kratzer_\xfc"
    write_text(tmp_path / "a.txt", STRANGE)
    assert (tmp_path / "a.txt").read_text("ascii") == "Kratzer_\\udcfc"


def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with small_disk(1000), pytest.raises(OutputError, match=r"best\.pt: cannot be written \(File too large\)"):
        write_torch(tmp_path / "best.pt", {"weight": torch.zeros(4000)})
    assert list(tmp_path.iterdir()) == []
    write_torch(tmp_path / "best.pt", {"weight": torch.ones(3)})
    assert torch.load(tmp_path / "best.pt")["weight"].tolist() == [1, 1, 1]


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for out in ("runs/new/predict", "mine"):
        with results_folder(str(tmp_path / out), exist_ok=True) as folder:
            assert folder.is_dir()
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    with results_folder(str(tmp_path / "runs" / "predict"), exist_ok=False) as folder:
        (folder / "a").touch()
    assert (tmp_path / "runs" / "predict" / "a").exists()


def test_results_of_earlier_runs_are_known(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    made = {new_folder(out, exist_ok=False) for _ in range(3)}
    (tmp_path / "outer").mkdir()
    assert set(earlier_results(out)) == made
    assert earlier_results(str(tmp_path / "gone" / "out")) == [tmp_path / "gone" / "out"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError(101), "no entry 101"),
        (KeyError("names"), "no entry 'names'"),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), "No space left on device"),
        (ValueError("two\nlines"), "two lines"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_reason_is_words(error: Exception, words: str) -> None:
    assert reason(error) == words


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("export", ["--model", "in.pt", "--out", "in.pt", "--format", "pt", "--exist-ok"]),
        ("evaluate", ["--model", "starter", "--data", "in.json", "--json", "in.json"]),
        ("predict", ["--model", "starter", "--source", "in.png", "--adapter", "in.json", "--json", "in.json"]),
        ("check", ["--data", "in.json", "--json", "in.json"]),
    ],
)
def test_no_verb_writes_over_what_it_reads(
    tmp_path: Path, verb: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in.png")
    (tmp_path / "in.pt").write_bytes(b"weights")
    coco = {
        "images": [{"id": 1, "file_name": "in.png", "width": 48, "height": 32}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 1, "name": "dent"}],
    }
    (tmp_path / "in.json").write_text(json.dumps(coco))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert importlib.import_module(f"vision_lora.{verb}").main(words) == 2
    assert "would be lost" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("call", "files"),
    [
        ("imwrite", set()),
        ("imread", set()),
        ("imencode", {"pictures/images.py"}),
        ("VideoWriter", {"pictures/videos.py"}),
        ("VideoCapture", {"pictures/videos.py", "streaming/sources/feed.py"}),
    ],
)
def test_pictures_and_videos_have_one_writer_each(call: str, files: set[str]) -> None:
    """OpenCV tells no full disk, and ends the process at names that are no UTF-8."""
    package = Path(vision_lora.__file__).parent
    users = {
        file.relative_to(package).as_posix() for file in package.rglob("*.py") if f"cv2.{call}(" in file.read_text()
    }
    assert users == files
