"""The report as one page that opens without a network."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from vision_lora.comparison.report.result import Result
from vision_lora.comparison.report.sections import Advice, Command, Figures, Heading, Lines, Note, parts
from vision_lora.pictures.plots import svg
from vision_lora.text import page as text


def page(result: Result, figures: Mapping[str, Figure], captions: Mapping[str, str]) -> str:
    """The whole page: tables, plots as SVG, style, no script and nothing to load."""
    return text.page(f"Methods compared: {result.title}", _body(result, figures, captions))


def _body(result: Result, figures: Mapping[str, Figure], captions: Mapping[str, str]) -> Iterator[str]:
    for part in parts(result):
        if isinstance(part, Heading):
            yield f"<h2>{html.escape(part.text)}</h2>"
        elif isinstance(part, Advice):
            yield f'<p class="advice">{html.escape(part.text)}</p>'
        elif isinstance(part, Command):
            yield f"<p><code>{html.escape(part.text)}</code></p>"
        elif isinstance(part, Note):
            yield f'<p class="note">{html.escape(part.text)}</p>'
        elif isinstance(part, Lines):
            yield text.bullets(part.lines)
        elif isinstance(part, Figures):
            plots = [text.plot(svg(figure, name), captions[name]) for name, figure in figures.items()]
            yield from ['<div class="plots">', *plots, "</div>"] if plots else []
        else:
            yield text.table(*part)
