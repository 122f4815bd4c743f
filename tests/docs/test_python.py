"""The Python that README.md and the pages in docs/ show is run, block by block, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs import plant
from tests.docs.pages import PAGES, ROOT, blocks

PYTHON = ROOT / "docs" / "python.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant.build(tmp_path_factory.mktemp("plant"))


@pytest.fixture
def known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a page's blocks share."""
    monkeypatch.chdir(folder)
    plant.shorten(monkeypatch)
    return {}


def run(page: Path, known: dict[str, Any]) -> None:
    for block in blocks(page, "python"):
        exec(compile(block.text, page.name, "exec"), known)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python") and p != PYTHON], ids=lambda page: page.name)
def test_a_page_runs(page: Path, known: dict[str, Any]) -> None:
    run(page, known)
    if page.name == "README.md":
        assert len(list(Path("found").iterdir())) == 2


def test_the_page_about_python_is_true(known: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(PYTHON, known)
    printed = capsys.readouterr().out
    assert "--confidence 40: expected 0 to 1" in printed
    assert known["run"].val.per_class["scratch"].boxes == 1
    assert known["run"].file.parent.parent == Path("runs")
    assert len(list(Path("out").iterdir())) == 2
    assert known["rows"]
    assert len(known["coco"]) == len(known["rows"]) == sum(map(len, known["boxes"]))
    assert [line.split()[0] for line in printed.splitlines() if re.match(r"[12]\.?0? 0\.\d", line)]


def test_the_first_python_in_the_readme_is_short() -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in block.text.splitlines() if line]) == 6
