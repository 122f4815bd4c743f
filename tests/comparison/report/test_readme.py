from __future__ import annotations

from pathlib import Path

import pytest

from tests.comparison.build import result
from vision_lora.comparison.report.readme import main
from vision_lora.system.outputs import write_json


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "compare.json"
    write_json(file, {**result().to_json(), "advice": "Take lora."})
    return file


def test_tables_are_printed(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(kept)]) == 0
    text = capsys.readouterr().out
    assert "**steel/data.yaml, yolo11n.pt, 320 px**: `python -m vision_lora.compare --data steel/data.yaml`" in text
    assert "10 a class (21 pictures):" in text
    cells = (
        "lora | 0.415 ± 0.007 | 0.623 ± 0.011 | - | 0.001 | 0.444, to the bit | 284,194 (10.8%) | 1.17 | 0.2 | 10.00"
    )
    assert f"| {cells} |" in text
    assert "Take lora" in text


def test_tables_are_put_between_their_marks_and_nothing_else_changes(kept: Path, tmp_path: Path) -> None:
    readme, other = tmp_path / "README.md", tmp_path / "other.json"
    other.write_bytes(kept.read_bytes())
    readme.write_text(
        "above\n<!-- compare other -->\nold\n<!-- /compare -->\nbetween\n"
        "<!-- compare compare -->\n<!-- /compare -->\nbelow\n"
    )
    assert main([str(kept), str(other), "--into", str(readme)]) == 0
    once = readme.read_text()
    assert once.startswith("above\n<!-- compare other -->\n**steel")
    assert "\n<!-- /compare -->\nbetween\n<!-- compare compare -->\n**steel" in once
    assert once.endswith("\n<!-- /compare -->\nbelow\n")
    assert "old" not in once
    assert once.count("**steel") == 2
    assert main(["--into", str(readme), str(other), str(kept)]) == 0
    assert readme.read_text() == once


def test_mistakes_are_one_line_and_change_nothing(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, other = tmp_path / "README.md", tmp_path / "other.json"
    readme.write_text(text := "<!-- compare compare --> no end <!-- compare other --><!-- /compare -->")
    other.write_text("{}")
    for words, message in (
        ([], "expected RESULT.json"),
        (["--wrong"], "expected RESULT.json"),
        ([str(kept), "--into"], "expected RESULT.json"),
        ([str(tmp_path / "gone.json")], "gone.json: no result of a comparison"),
        ([str(other)], "other.json: no result of a comparison"),
        ([str(kept), "--into", str(readme)], "expected the marks <!-- compare compare --> and <!-- /compare -->"),
        ([str(kept), "--into", str(tmp_path / "gone.md")], "gone.md: cannot be read"),
    ):
        assert main(words) == 2, words
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert message in errors[0]
    assert readme.read_text() == text
