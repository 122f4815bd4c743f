"""How plots of all reports look, and how they get into a page."""

from __future__ import annotations

import io
import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe & Ito 2008: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B5B95", "#000000")
GREY = "#5f6b76"


def new_figure(x: str, y: str, height: float = 4.4) -> tuple[Figure, Axes]:
    """A figure with one pair of axes.

    Args:
        x: label of the horizontal one.
        y: label of the vertical one.
        height: inches; it is 7.6 wide.
    """
    # A figure of its own: pyplot would keep it for ever and ask for a window system.
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def set_title(axes: Axes, title: str, note: str) -> None:
    """A title, and below it what has to be known to read the plot."""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=24 if note else 10)
    if note:
        axes.annotate(note, (0, 1), (0, 8), "axes fraction", "offset points", color=GREY, fontsize=9.5)


def svg(figure: Figure, prefix: str) -> str:
    """The figure as an SVG element, its text as outlines, so that it looks alike everywhere.

    Args:
        figure: what to draw.
        prefix: of its ids: matplotlib numbers them alike in every figure.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    picture = re.sub(r'\bid="', f'id="{prefix}-', text[text.index("<svg") :])
    return re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", picture)
