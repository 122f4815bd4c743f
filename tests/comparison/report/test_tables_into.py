from __future__ import annotations

from pathlib import Path

import pytest

from tests.comparison.build import result
from vision_lora.comparison.report.tables_into import main
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
    page, further, other = tmp_path / "page.md", tmp_path / "further.md", tmp_path / "other.json"
    other.write_bytes(kept.read_bytes())
    page.write_text("above\n<!-- compare other -->\nold\n<!-- /compare -->\nbelow\n")
    further.write_text("<!-- compare compare -->\n<!-- /compare -->\nlast\n")
    words = [str(kept), str(other), "--into", str(page), str(further)]
    assert main(words) == 0
    once = page.read_text(), further.read_text()
    assert once[0].startswith("above\n<!-- compare other -->\n**steel")
    assert once[0].endswith("\n<!-- /compare -->\nbelow\n")
    assert "old" not in once[0]
    assert once[1].startswith("<!-- compare compare -->\n**steel")
    assert once[1].endswith("\n<!-- /compare -->\nlast\n")
    assert [text.count("**steel") for text in once] == [1, 1]
    assert main(words) == 0
    assert (page.read_text(), further.read_text()) == once


def test_mistakes_are_one_line_and_change_nothing(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, twice, other = tmp_path / "page.md", tmp_path / "twice.md", tmp_path / "other.json"
    twice.write_text("<!-- compare compare --><!-- /compare -->" * 2)
    page.write_text(text := "<!-- compare compare --> no end <!-- compare other --><!-- /compare -->")
    other.write_text("{}")
    for words, message in (
        ([], "expected RESULT.json"),
        (["--wrong"], "expected RESULT.json"),
        ([str(kept), "--into"], "expected RESULT.json"),
        ([str(tmp_path / "gone.json")], "gone.json: no result of a comparison"),
        ([str(other)], "other.json: no result of a comparison"),
        ([str(kept), "--into", str(page)], "expected the marks <!-- compare compare --> and <!-- /compare -->"),
        ([str(kept), "--into", str(twice)], "twice.md: expected the marks"),
        ([str(kept), "--into", str(tmp_path / "gone.md")], "gone.md: cannot be read"),
    ):
        assert main(words) == 2, words
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert message in errors[0]
    assert page.read_text() == text
