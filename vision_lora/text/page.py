"""A report as one HTML file: style, tables and pictures in it, no script and nothing to load."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from vision_lora.text.markup import Cell, in_html

_STYLE = """
:root { color-scheme: light; --ink: #212529; --faint: #5f6b76; --line: #dee2e6; --soft: #f4f6f8; --mark: #0072b2 }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); max-width: 1060px; margin: 0 auto; padding: 24px 16px }
h1 { font-size: 1.55rem; line-height: 1.25; overflow-wrap: anywhere } h2 { font-size: 1.2rem; margin-top: 2.4rem }
.advice { background: var(--soft); border-left: 4px solid var(--mark); padding: 12px 16px; font-size: 1.08rem }
code { background: var(--soft); padding: 2px 5px; font-size: .88em; overflow-wrap: anywhere }
.wide { overflow-x: auto; margin: 12px 0 }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; min-width: 60% }
td { white-space: nowrap }
th, td { padding: 6px 12px; border-bottom: 1px solid var(--line); text-align: right; vertical-align: bottom }
th { font-weight: 600; color: var(--faint) } th:first-child, td:first-child { text-align: left }
tbody tr:hover { background: var(--soft) }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 20px }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: 10px }
figure svg { width: 100%; height: auto; display: block }
li { margin: 4px 0 } .note { color: var(--faint); font-size: .9rem; margin: 4px 0 }
"""


def page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """The whole page.

    Args:
        title: plain text.
        body: HTML below the title.
        style: rules beside those that all reports share.
    """
    text, title = "\n".join(body), html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n"
        f"<body>\n<h1>{title}</h1>\n{text}\n</body>\n</html>\n"
    )


def table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that scrolls by itself where the window is narrow."""
    lines = ["".join(f"<td>{in_html(cell)}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{in_html(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def bullets(lines: Iterable[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{in_html(line)}</li>' for line in lines)}</ul>"


def plot(svg: str, label: str) -> str:
    """A plot, with what it shows for those who do not see it."""
    return f'<figure role="img" aria-label="{html.escape(label)}">{svg}</figure>'


def jpeg(data: bytes, size: tuple[int, int], alt: str) -> str:
    """A picture that the page holds itself; its width and height in pixels."""
    text = base64.b64encode(data).decode()
    return f"<img width={size[0]} height={size[1]} alt='{html.escape(alt)}' src='data:image/jpeg;base64,{text}'>"
