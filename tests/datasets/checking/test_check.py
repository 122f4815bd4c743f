"""Flaws put into a dataset by hand are found, told, and mended in the copy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.datasets.build import picture, voc, voc_object, yolo
from vision_lora import check
from vision_lora.datasets import open_dataset
from vision_lora.datasets.checking.check import Report, _class_in_name, check_dataset
from vision_lora.datasets.checking.fix import write_fixed
from vision_lora.datasets.checking.report import write_html, write_json
from vision_lora.errors import DataError
from vision_lora.options.tools import CheckConfig
from vision_lora.pictures.images import read_image

Capture = pytest.CaptureFixture[str]

BOX = "0 0.5 0.5 0.5 0.5\n"
SOUND = [BOX, "1 0.5 0.5 0.5 0.5\n", "2 0.5 0.5 0.5 0.5\n"] * 10


def sound(root: Path) -> Path:
    """A dataset without a flaw: ten pictures a class in train, three in val."""
    data = yolo(root, SOUND, val="images/val")
    for i in range(9):
        add(root, f"val/v{i}", f"{i % 3} 0.5 0.5 0.5 0.5\n", seed=100 + i)
    return data


def add(root: Path, name: str, label: str, *, seed: int, width: int = 64, height: int = 48) -> Path:
    (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
    (root / f"labels/{name}.txt").write_text(label)
    return picture(root / f"images/{name}.png", width, height, seed=seed)


def checked(data: Path) -> Report:
    return check_dataset(open_dataset(data))


def kinds(report: Report) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in report.findings}


def test_a_sound_dataset_has_no_findings(tmp_path: Path) -> None:
    report = checked(sound(tmp_path))
    assert report.findings == []
    assert not report.failed
    assert report.proposal == []


def leak(root: Path) -> None:
    (root / "images/val/v0.png").write_bytes((root / "images/train/0.png").read_bytes())


def shifted_leak(root: Path) -> None:
    rng = np.random.default_rng(0)
    surface = Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)).resize((900, 900))
    surface.crop((0, 0, 400, 400)).save(root / "images/train/0.png")
    surface.crop((100, 60, 500, 460)).save(root / "images/val/v0.png")


def copies(root: Path) -> None:
    (root / "images/train/3.png").write_bytes((root / "images/train/0.png").read_bytes())


def contradiction(root: Path) -> None:
    copies(root)
    (root / "labels/train/3.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def broken(root: Path) -> None:
    (root / "labels/train/0.txt").write_text(BOX + "7 0.5 0.5 0.5 0.5\n")


def unreadable(root: Path) -> None:
    path = root / "images/train/0.png"
    data = bytearray(path.read_bytes())
    data[60:900] = bytes(840)
    path.write_bytes(data)


def outside(root: Path) -> None:
    (root / "labels/train/0.txt").write_text("0 0.1 0.5 0.5 0.5\n")


def doubled(root: Path) -> None:
    (root / "labels/train/0.txt").write_text(BOX + "0 0.5 0.5 0.49 0.5\n")


def tiny_box(root: Path) -> None:
    (root / "labels/train/0.txt").write_text(BOX + "0 0.5 0.5 0.004 0.2\n")


def tiny_picture(root: Path) -> None:
    add(root, "train/tiny", BOX, seed=77, width=24, height=24)


def unused_class(root: Path) -> None:
    text = (root / "data.yaml").read_text()
    (root / "data.yaml").write_text(text.replace("stain]", "stain, ghost]"))


def untaught_class(root: Path) -> None:
    unused_class(root)
    (root / "labels/val/v0.txt").write_text("3 0.5 0.5 0.5 0.5\n")


def few(root: Path) -> None:
    (root / "labels/train/0.txt").write_text("1 0.5 0.5 0.5 0.5\n")


def imbalance(root: Path) -> None:
    rows = "".join(f"0 {0.01 * i + 0.05:.2f} 0.5 0.09 0.09\n" for i in range(0, 90, 9))
    for i in range(0, 30, 3):
        (root / f"labels/train/{i}.txt").write_text(rows + "0 0.5 0.9 0.1 0.1\n")


def one_split(root: Path) -> None:
    text = (root / "data.yaml").read_text()
    (root / "data.yaml").write_text(text.replace("val: images/val\n", ""))


def class_in_name(root: Path) -> None:
    for split in ("train", "val"):
        for label in sorted((root / "labels" / split).iterdir()):
            name = ["scratch", "dent", "stain"][int(label.read_text()[0])]
            label.rename(label.with_name(f"{name}_{label.name}"))
            image = root / "images" / split / f"{label.stem}.png"
            image.rename(image.with_name(f"{name}_{image.name}"))
    (root / "labels/train/scratch_0.txt").write_text(BOX + "2 0.2 0.2 0.1 0.1\n")


FLAWS = {
    "leak": (leak, "error", "leak"),
    "shifted crop in val": (shifted_leak, "error", "leak"),
    "copies": (copies, "warning", "copies"),
    "contradiction": (contradiction, "warning", "contradiction"),
    "broken": (broken, "error", "broken"),
    "unreadable": (unreadable, "error", "unreadable"),
    "outside": (outside, "warning", "outside"),
    "doubled": (doubled, "warning", "doubled"),
    "tiny box": (tiny_box, "warning", "tiny-boxes"),
    "tiny picture": (tiny_picture, "warning", "tiny-pictures"),
    "unused class": (unused_class, "warning", "unused-class"),
    "untaught class": (untaught_class, "error", "untaught-class"),
    "few pictures": (few, "warning", "few-pictures"),
    "imbalance": (imbalance, "warning", "imbalance"),
    "one split": (one_split, "warning", "one-split"),
    "class in name": (class_in_name, "note", "class-in-name"),
}


@pytest.mark.parametrize(("spoil", "severity", "kind"), FLAWS.values(), ids=FLAWS)
def test_flaws(tmp_path: Path, spoil: object, severity: str, kind: str) -> None:
    data = sound(tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    report = checked(data)
    assert kinds(report)[kind] == severity
    assert report.failed == (severity == "error")
    told = next(finding for finding in report.findings if finding.kind == kind)
    assert "\n" not in told.message


@pytest.mark.parametrize("spoil", [leak, shifted_leak])
def test_the_proposed_split_has_no_leak(tmp_path: Path, spoil: object) -> None:
    data = sound(tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    report = checked(data)
    assert len(report.crossing()) == 1
    assert all(report.proposal[pair.first] == report.proposal[pair.second] for pair in report.overlaps)
    assert abs(report.proposal.count("val") - 9) <= 2


def folder_state(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_fix_writes_a_sound_copy_and_says_what_it_changed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    data = sound(root)
    for spoil in (shifted_leak, broken, outside):
        spoil(root)
    (root / "labels/train/1.txt").write_text("1 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.49 0.5\n9 0.1 0.1 0.1 0.1\n")
    (root / "images/train/5.png").write_bytes((root / "images/train/2.png").read_bytes())
    before = folder_state(root)
    report = checked(data)
    changes = write_fixed(report, tmp_path / "clean")
    assert folder_state(root) == before, "the source is never touched"
    assert (tmp_path / "clean/changes.txt").read_text().splitlines() == changes
    for start in ("skipped: ", "cut: ", "removed: ", "moved: "):
        assert any(change.startswith(start) for change in changes), start

    clean = checked(tmp_path / "clean/data.yaml")
    assert not clean.failed
    assert not {"doubled", "outside", "copies", "leak", "broken"} & set(kinds(clean))
    assert clean.dataset.names == report.dataset.names
    assert len(clean.samples) == len(report.samples) - 1
    boxes = {sample.path.stem: sample.boxes for sample in clean.samples}
    for sample in report.samples:
        if sample.path.stem not in ("1", "5"):
            np.testing.assert_allclose(boxes[sample.path.stem], sample.boxes, atol=1e-3)


def test_fix_keeps_pictures_of_the_same_name_apart(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data", SOUND, train="[images/train, images/more]")
    add(tmp_path / "data", "more/0", BOX, seed=500)
    report = checked(data)
    write_fixed(report, tmp_path / "clean")
    assert len(checked(tmp_path / "clean/data.yaml").samples) == 31


def test_fix_overwrites_nothing(tmp_path: Path) -> None:
    report = checked(sound(tmp_path / "data"))
    with pytest.raises(DataError, match="already holds something"):
        write_fixed(report, tmp_path / "data")


def test_reports(tmp_path: Path) -> None:
    data = sound(tmp_path / "<data>")
    leak(tmp_path / "<data>")
    doubled(tmp_path / "<data>")
    report = checked(data)
    write_json(report, tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["failed"] is True
    assert told["splits"]["train"]["boxes_by_class"] == [11, 10, 10]
    assert {finding["kind"] for finding in told["findings"]} == set(kinds(report))
    assert len(told["overlaps"]) == 1
    assert set(told["proposed_split"].values()) == {"train", "val"}
    write_html(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<data>" not in page, "names from the dataset are escaped"
    assert page.count("data:image/jpeg;base64,") >= 2 + 1 + 3
    assert "http" not in page, "the page needs nothing else"
    for finding in report.findings:
        assert finding.kind in page


@pytest.mark.parametrize(("spoil", "code"), [(None, 0), (doubled, 0), (leak, 1)])
def test_the_verb_and_its_exit_codes(
    tmp_path: Path, spoil: object, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sound(tmp_path / "data")
    if spoil is not None:
        spoil(tmp_path / "data")  # type: ignore[operator]
    outputs = ["--html", f"{tmp_path}/r.html", "--json", f"{tmp_path}/r.json", "--fix", f"{tmp_path}/clean"]
    assert check.main(["--data", str(data), *outputs]) == code
    assert all((tmp_path / name).exists() for name in ("r.html", "r.json", "clean/data.yaml"))
    assert ("would suffer" in capsys.readouterr().out) == bool(code)


def test_the_verb_tells_a_mistake_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--data", str(tmp_path / "nowhere")]) == 2
    assert check.main([]) == 2
    assert check.main(["--data", str(sound(tmp_path)), "--preview", str(tmp_path / "a.gif")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)


def test_strict_stops(tmp_path: Path) -> None:
    data = sound(tmp_path)
    broken(tmp_path)
    with pytest.raises(DataError, match="line 2"):
        check.run(CheckConfig(data=str(data), strict=True), Console(quiet=True))


def test_preview_shows_the_recipe(tmp_path: Path) -> None:
    data = sound(tmp_path)
    for name in ("none", "surface"):
        config = CheckConfig(data=str(data), imgsz=64, preview=str(tmp_path / f"{name}.png"), augment=name)
        assert check.run(config, Console(quiet=True)) == 0
    plain, turned = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("none", "surface"))
    assert plain.shape == turned.shape == (5 * 64, 7 * 64, 3)
    for column in range(1, 7):
        np.testing.assert_array_equal(plain[:, :64], plain[:, 64 * column : 64 * (column + 1)])
    np.testing.assert_array_equal(turned[:, :64], plain[:, :64])
    assert not np.array_equal(turned[:, 64:128], turned[:, 128:192])


@pytest.mark.slow
def test_flaws_of_neu_det(shared: Path) -> None:
    """What the data's README lists and a program can see."""
    report = checked(shared / "datasets/neu-det")
    found = {finding.kind: finding for finding in report.findings}
    assert found["class-in-name"].message.startswith("188 boxes in 123 pictures")
    (copy,) = found["contradiction"].where
    assert "patches_101.jpg" in copy
    assert "patches_105.jpg" in copy
    assert found["leak"].severity == "error"
    assert not [p for p in report.overlaps if report.proposal[p.first] != report.proposal[p.second]]
    assert "broken" not in found


def test_the_balance_is_printed(tmp_path: Path, capsys: Capture) -> None:
    data = sound(tmp_path)
    broken(tmp_path)
    (tmp_path / "images/train/a.csv").write_text("1")
    check.main(["--data", str(data), "--html", f"{tmp_path}/r.html", "--json", f"{tmp_path}/r.json"])
    told = "files: 79 seen = 78 used + 1 left out; boxes: 40 seen = 39 used + 1 skipped"
    assert told in capsys.readouterr().out.splitlines()
    assert told in (tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "r.json").read_text())["balance"]["boxes"] == {"used": 39, "ignored": 0, "skipped": 1}


@pytest.mark.parametrize("other", ["html", "json", "fix"])
def test_preview_refuses_what_it_would_drop(tmp_path: Path, other: str, capsys: Capture) -> None:
    words = ["--data", str(sound(tmp_path)), "--preview", f"{tmp_path}/sheet.png", f"--{other}", f"{tmp_path}/x"]
    assert check.main(words) == 2
    assert f"--{other}" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_the_copy_opens_in_ultralytics_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = pytest.importorskip("ultralytics.data.utils")
    write_fixed(checked(sound(tmp_path / "data")), tmp_path / "clean")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = utils.check_det_dataset(str(tmp_path / "clean/data.yaml"), autodownload=False)
    assert Path(found["train"]) == tmp_path / "clean/images/train"
    (tmp_path / "clean").rename(tmp_path / "moved")
    assert len(open_dataset(tmp_path / "moved").splits["train"]) == 30


def test_regions_that_the_copy_cannot_hold_are_told(tmp_path: Path, capsys: Capture) -> None:
    hard = "<difficult>1</difficult>"
    for name in "abcd":
        objects = voc_object("dent", 1, 1, 20, 20) + voc_object("dent", 30, 30, 60, 40, hard) * 2
        voc(tmp_path / "data", objects, name)
    check.main(["--data", str(tmp_path / "data"), "--fix", str(tmp_path / "clean")])
    lines = (tmp_path / "clean/changes.txt").read_text().splitlines()
    assert sum("2 regions to ignore" in line for line in lines) + sum("a copy of" in line for line in lines) == 4
    assert "regions to ignore have no place in YOLO labels" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "kept"), [("jfif", "jpg"), ("gif", "png"), ("ppm", "png"), ("JPG", "JPG")])
def test_the_copy_has_endings_that_everyone_reads(tmp_path: Path, ending: str, kept: str) -> None:
    data = sound(tmp_path / "data")
    image = tmp_path / "data/images/train/0.png"
    shown = Image.open(image).quantize(16).convert("RGB")
    shown.save(image.with_suffix(f".{ending}"), format={"gif": "GIF", "ppm": "PPM"}.get(ending, "JPEG"))
    image.unlink()
    write_fixed(checked(data), tmp_path / "clean")
    (copied,) = (tmp_path / "clean/images/train").glob("0.*")
    assert copied.suffix == f".{kept}"
    np.testing.assert_array_equal(read_image(copied), read_image(image.with_suffix(f".{ending}")))


def test_classes_that_differ_in_case_are_told(tmp_path: Path) -> None:
    data = sound(tmp_path)
    report = check_dataset(replace(open_dataset(data), names=("deep dent", "stain", "Deep_Dent")))
    (finding,) = [item for item in report.findings if item.kind == "alike-classes"]
    assert finding.where == ["'Deep_Dent' and 'deep dent'"]


@pytest.mark.parametrize(
    ("stem", "kind"),
    [
        ("pit_3", 0),
        ("pitted_3", None),
        ("PIT12", 0),
        ("pitted surface-1", 1),
        ("spit_1", None),
        ("a.b_1", 2),
        ("axb_1", None),
    ],
)
def test_a_class_in_a_files_name_is_a_word_of_it(stem: str, kind: int | None) -> None:
    assert _class_in_name(stem, ("pit", "pitted surface", "a.b")) == kind
