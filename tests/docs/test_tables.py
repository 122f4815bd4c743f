"""Tables of kept comparisons in docs/ are what their JSON says: `make compare-tables` changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from vision_lora.comparison.report.tables_into import END, read_result, section

PAGES = [ROOT / "docs" / "comparing.md", ROOT / "docs" / "old-classes.md"]
KEPT = sorted((ROOT / "data" / "results" / "compare").glob("*.json"))


@pytest.mark.parametrize("result", KEPT, ids=lambda file: file.stem)
def test_tables_are_what_the_results_say(result: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert f"<!-- compare {result.stem} -->\n{section(read_result(result))}\n{END}\n" in text


def test_no_table_is_without_a_result_and_make_writes_these_pages() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"<!-- compare (\S+) -->", text)) == {file.stem for file in KEPT}
    into = re.search(r"--into (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert into is not None
    assert [ROOT / page for page in into[1].split()] == PAGES
