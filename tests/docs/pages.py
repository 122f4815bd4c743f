"""README.md and the pages of docs/, and what they show: blocks of code, commands, options and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted(page for page in (ROOT / "docs").glob("*.md") if not page.name.startswith("_")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PROGRAMS = (
    "python",
    "vision-lora",
    "make",
    "pip",
    "docker",
    "pytest",
    "mkdocs",
    "jupyter",
)


class Block(NamedTuple):
    """Code between two fences.

    Attributes:
        page: where it stands.
        language: what stands behind the opening fence.
        text: the code.
    """

    page: Path
    language: str
    text: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """A page's blocks of one language, or all, in their order."""
    found = [Block(page, *match.groups()) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [block for block in found if language in (None, block.language)]


def spans(page: Path) -> list[str]:
    """What stands between single backticks in a page's text."""
    return _SPAN.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def commands(page: Path) -> Iterator[tuple[str, ...]]:
    """Each command of a page as its words: every line of its bash blocks, and what looks like one in its text."""
    for block in blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            yield from split(line)
    for span in spans(page):
        if " " in span and span.split()[0] in PROGRAMS:
            yield from split(span)


def split(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of one line, each as its words."""
    line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line)  # what a shell evaluates is a command's output
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("&|;"):
            yield tuple(words)
            words = []
        else:
            words.append(word)
    if words:
        yield tuple(words)


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


def links(page: Path) -> list[str]:
    """Where a page's links and pictures point."""
    return re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text(encoding="utf-8")))
