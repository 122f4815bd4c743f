"""Links and pictures of README.md and docs/ lead somewhere, and the pages make a site that needs no network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, README, ROOT, anchors, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert "://" not in link, f"{link}: pages work without a network"
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_read_in_three_minutes() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert text.count("\n|") == 2 + 8, "one table, of eight rows"
    assert {f"#{name}" for name in anchors(README) - {"vision_lora"}} <= set(links(README)), "in the table of contents"


def test_pictures_are_small() -> None:
    pictures = {page.parent / link for page in PAGES for link in links(page) if link.endswith((".png", ".jpg"))}
    assert len(pictures) >= 5
    assert {file.name: size for file in pictures if (size := file.stat().st_size) > 210_000} == {}


def test_the_site_is_whole_and_asks_no_network(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="no mkdocs-material: pip install '.[docs]'")
    words = [
        "build",
        "--strict",
        "--config-file",
        ROOT / "configs" / "docs" / "mkdocs.yml",
        "--site-dir",
        tmp_path / "site",
    ]
    command = [sys.executable, "-m", "mkdocs", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert (site / "data" / "results" / "rates.json").is_file(), "files of the repository that pages link to"
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(https?:[^\"]*)", page.read_text("utf-8"))
        assert loaded == [], page.name
