"""Text in Markdown and HTML: what is foreign in it stays text, whatever letters it holds."""

from __future__ import annotations

import html
import re


class Strong(str):
    """A text that is set in bold."""

    __slots__ = ()


Cell = str | tuple[str, ...]  # of a table: a text, or several that follow each other, some of them `Strong`

# An underscore within a word marks nothing.
_MARKS = re.compile(r"[\\`*|<\[\]$~&]|(?<![^\W_])_|_(?![^\W_])")


def in_markdown(cell: Cell) -> str:
    r"""A cell or a line in GitHub's Markdown.

    Examples:
        >>> print(in_markdown(("edge | [deep] pitted_surface ", Strong("0.5"))))
        edge \| \[deep\] pitted_surface **0.5**
    """
    return "".join(f"**{_plain(part)}**" if isinstance(part, Strong) else _plain(part) for part in _parts(cell))


def code_in_markdown(text: str) -> str:
    """A text as code, with more backticks around it than stand together in it.

    Examples:
        >>> code_in_markdown("train --data a"), code_in_markdown("a`b")
        ('`train --data a`', '``a`b``')
    """
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    inner = f" {text} " if text.startswith("`") or text.endswith("`") else text
    return f"{fence}{' '.join(inner.splitlines())}{fence}"


def in_html(cell: Cell) -> str:
    """A cell or a line in HTML.

    Examples:
        >>> in_html(("<b> & ", Strong("`0.5`")))
        '&lt;b&gt; &amp; <strong>`0.5`</strong>'
    """
    parts = ((html.escape(part), isinstance(part, Strong)) for part in _parts(cell))
    return "".join(f"<strong>{text}</strong>" if strong else text for text, strong in parts)


def _plain(text: str) -> str:
    return _MARKS.sub(r"\\\g<0>", re.sub(r"[\r\n]+", " ", text))


def _parts(cell: Cell) -> tuple[str, ...]:
    return (cell,) if isinstance(cell, str) else cell
