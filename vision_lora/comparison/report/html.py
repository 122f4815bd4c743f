"""The report as one page that opens without a network."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from vision_lora.comparison.report import tables
from vision_lora.comparison.report.advice import advice
from vision_lora.comparison.report.markup import in_html
from vision_lora.comparison.report.notes import notes
from vision_lora.comparison.report.plots import svg
from vision_lora.comparison.report.result import Result

_STYLE = """
:root { color-scheme: light; --ink: #212529; --faint: #5f6b76; --line: #dee2e6; --soft: #f4f6f8; --mark: #0072b2 }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); max-width: 1060px; margin: 0 auto; padding: 24px 16px }
h1 { font-size: 1.55rem; line-height: 1.25 } h2 { font-size: 1.2rem; margin-top: 2.4rem }
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


def page(result: Result, figures: Mapping[str, Figure], captions: Mapping[str, str]) -> str:
    """The whole page: tables, plots as SVG, style, no script and nothing to load."""
    body = "\n".join(_body(result, figures, captions))
    title = html.escape(f"Methods compared: {result.title}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _body(result: Result, figures: Mapping[str, Figure], captions: Mapping[str, str]) -> Iterator[str]:
    yield f'<p class="advice">{html.escape(advice(result))}</p>'
    yield f"<p><code>{html.escape(result.command)}</code></p>"
    if figures:
        yield '<div class="plots">'
        for name, figure in figures.items():
            label = html.escape(captions[name])
            picture = _own_names(svg(figure), name)
            yield f'<figure role="img" aria-label="{label}">{picture}</figure>'
        yield "</div>"
    for shots in result.shots:
        yield f"<h2>{html.escape(tables.training_set(shots, result.of(shots)))}</h2>"
        yield _table(tables.accuracy(result, shots))
        yield _table(tables.cost(result, shots))
        yield '<p class="note">mAP50-95 by class, mean over seeds:</p>'
        yield _table(tables.classes(result, shots))
    if any(len(row.trials) > 1 for row in result.rows):
        yield f"<h2>Learning rates</h2>{_table(tables.search(result))}"
    yield f"<h2>Every run</h2>{_table(tables.seeds(result))}"
    yield f"<h2>How it was measured</h2>{_list(notes(result))}"
    if result.missing:
        yield f"<h2>Runs that failed</h2>{_list(result.missing)}"
    if result.problems:
        yield f"<h2>Skipped</h2>{_list(result.problems)}"


def _table(table: tables.Table) -> str:
    head, rows = table
    lines = ["".join(f"<td>{in_html(cell)}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{in_html(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{in_html(line)}</li>' for line in lines)}</ul>"


def _own_names(picture: str, prefix: str) -> str:
    """The SVG with ids of its own: matplotlib numbers them alike in every figure."""
    picture = re.sub(r'\bid="', f'id="{prefix}-', picture)
    return re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", picture)
