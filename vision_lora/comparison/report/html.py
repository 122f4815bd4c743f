"""The report as one page that opens without a network."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from vision_lora.comparison.report import tables
from vision_lora.comparison.report.advice import advice
from vision_lora.comparison.report.notes import notes
from vision_lora.comparison.report.result import Result
from vision_lora.pictures.plots import svg
from vision_lora.text import page as text


def page(result: Result, figures: Mapping[str, Figure], captions: Mapping[str, str]) -> str:
    """The whole page: tables, plots as SVG, style, no script and nothing to load."""
    return text.page(f"Methods compared: {result.title}", _body(result, figures, captions))


def _body(result: Result, figures: Mapping[str, Figure], captions: Mapping[str, str]) -> Iterator[str]:
    yield f'<p class="advice">{html.escape(advice(result))}</p>'
    yield f"<p><code>{html.escape(result.command)}</code></p>"
    if figures:
        yield '<div class="plots">'
        for name, figure in figures.items():
            yield text.plot(svg(figure, name), captions[name])
        yield "</div>"
    for shots in result.shots:
        yield f"<h2>{html.escape(tables.training_set(shots, result.of(shots)))}</h2>"
        yield text.table(*tables.accuracy(result, shots))
        yield text.table(*tables.cost(result, shots))
        yield '<p class="note">mAP50-95 by class, mean over seeds:</p>'
        yield text.table(*tables.classes(result, shots))
    if any(len(row.trials) > 1 for row in result.rows):
        yield f"<h2>Learning rates</h2>{text.table(*tables.search(result))}"
    yield f"<h2>Every run</h2>{text.table(*tables.seeds(result))}"
    yield f"<h2>How it was measured</h2>{text.bullets(notes(result))}"
    if result.missing:
        yield f"<h2>Runs that failed</h2>{text.bullets(result.missing)}"
    if result.problems:
        yield f"<h2>Skipped</h2>{text.bullets(result.problems)}"
