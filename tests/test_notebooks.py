"""The notebooks as they are in git: run from top to bottom, nothing cut, nothing hidden. nbmake runs them."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What drops lines of an output: a reader would take the rest for all there is.
HIDING = re.compile(r"(^|[|;&!])\s*(grep|head|tail|sed|awk|cut)\s|/dev/null|%%capture")


def cells(notebook: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 6


def test_it_was_run_once_from_top_to_bottom(notebook: Path) -> None:
    counts = [cell["execution_count"] for cell in cells(notebook, "code")]
    assert counts == list(range(1, len(counts) + 1)), "renew the outputs with `make notebooks`"


def test_no_output_is_an_error_or_cut(notebook: Path) -> None:
    for cell in cells(notebook, "code"):
        names = [output.get("name") for output in cell["outputs"]]  # None unless it is text that was printed
        pieces = [one for one, other in pairwise(names) if one is not None and one == other]
        assert not pieces, f"cell {cell['execution_count']}: printed text in pieces; `make notebooks` joins them"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output["evalue"]
            text = "".join(output.get("text", ()))
            assert not re.search("Traceback|Warning: ", text), text
            assert "…" not in text, f"cell {cell['execution_count']}: a table is cut; set COLUMNS\n{text}"
            assert "\x1b" not in text, f"cell {cell['execution_count']}: colours for a terminal"


def test_no_command_hides_lines(notebook: Path) -> None:
    for cell in cells(notebook, "code"):
        hidden = [line for line in cell["source"] if HIDING.search(line)]
        assert not hidden, f"cell {cell['execution_count']}: {hidden}"


def test_outputs_name_no_folder_of_a_machine(notebook: Path) -> None:
    for cell in cells(notebook, "code"):
        for output in cell["outputs"]:
            text = "".join(output.get("text", ())) + "".join(output.get("data", {}).get("text/plain", ()))
            assert not re.search(r"(?<![\w./])/(home|root|tmp|usr|work|Users)/|site-packages", text), text


def test_links_lead_somewhere(notebook: Path) -> None:
    for cell in cells(notebook, "markdown"):
        for link in re.findall(r"\]\(([^)#:]+)\)", "".join(cell["source"])):
            if "data/results" in link and not (ROOT / "data" / "results").is_dir():
                continue  # measurements are in git, not in the source distribution
            assert (notebook.parent / link).exists(), link
