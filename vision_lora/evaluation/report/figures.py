"""Plots of an evaluation."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vision_lora.evaluation.assessment import Assessment
from vision_lora.evaluation.scoring.calibration import BINS, LEAST
from vision_lora.evaluation.scoring.curves import Curve
from vision_lora.evaluation.scoring.outcomes import Floats
from vision_lora.pictures.plots import COLOURS, GREY, new_figure, set_title

_LINES = len(COLOURS)  # classes that are drawn in a plot: more cannot be told apart
_POINTS = 400  # of a line: more cannot be seen, and would make the page large


@mpl.rc_context({"text.parse_math": False})  # a name with $ in it is no formula
def draw(one: Assessment) -> dict[str, tuple[Figure, str]]:
    """The plots, by name, each with what it shows in words."""
    figures = {
        name: (_over_confidence(one, name, read), f"{name} over confidence, by class")
        for name, read in (
            ("Precision", lambda line: line.precision),
            ("Recall", lambda line: line.recall),
            ("F1", lambda line: line.f1),
        )
    }
    figures["precision_recall"] = (_precision_recall(one), "Precision against recall, by class")
    figures["calibration"] = (_calibration(one), "Precision of detections against their score")
    if one.parts.area is not None:
        figures["roc"] = (_roc(one), "Bad parts found against good parts thrown away")
    return figures


def _over_confidence(one: Assessment, name: str, read: Callable[[Curve], Floats]) -> Figure:
    figure, axes = new_figure("lowest score that counts", name, 3.6)
    for index, label, line in _drawn(one):
        values, limit = read(line), float(one.limits[index])
        x, y = _thin(line.scores, values)
        axes.plot(x, y, color=COLOURS[index], lw=1.8, label=label, drawstyle="steps-pre")
        place = int((line.scores >= limit).sum()) - 1
        if place >= 0:
            axes.plot(limit, values[place], "o", color=COLOURS[index], ms=8, mec="white", mew=1.2, zorder=3)
    _square(axes, figure)
    set_title(axes, f"{name} over confidence", f"dots: the thresholds that count ({one.rule})")
    return figure


def _precision_recall(one: Assessment) -> Figure:
    figure, axes = new_figure("recall", "precision", 3.6)
    for index, label, line in _drawn(one):
        x, y = _thin(line.recall, line.precision)
        axes.plot(x, y, color=COLOURS[index], lw=1.8, label=label)
        row = one.rows[index]
        if row.found:
            axes.plot(row.recall, row.precision, "o", color=COLOURS[index], ms=8, mec="white", mew=1.2, zorder=3)
    _square(axes, figure)
    set_title(axes, "Precision against recall", "dots: the thresholds that count")
    return figure


def _calibration(one: Assessment) -> Figure:
    figure, axes = new_figure("score", "share of the detections that are right", 3.6)
    table, some = one.calibration, one.calibration.count > 0
    centres = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centres[some], table.precision[some], 0.9 / BINS, color=COLOURS[0], alpha=0.75)
    for x, y, count in zip(centres[some], table.precision[some], table.count[some], strict=True):
        axes.annotate(f"{count}", (x, y), (0, 3), textcoords="offset points", ha="center", fontsize=9, color=GREY)
    axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.08)
    note = f"calibration error {table.error:.3f}; numbers: detections, of those with a score of {LEAST} or more"
    set_title(axes, "What a score means", note)
    return figure


def _roc(one: Assessment) -> Figure:
    figure, axes = new_figure("share of good parts thrown away", "share of bad parts found", 3.6)
    bad, good = one.parts.scores(bad=True), one.parts.scores(bad=False)
    steps = np.append(np.unique(np.concatenate([bad, good]))[::-1], 0.0)  # from none rejected to all
    x = np.concatenate([[0.0], (good[None] >= steps[:, None]).mean(1)])
    y = np.concatenate([[0.0], (bad[None] >= steps[:, None]).mean(1)])
    axes.plot(x, y, color=COLOURS[0], lw=2)
    axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2)
    axes.plot(one.parts.thrown_away.value, one.parts.found.value, "o", color=COLOURS[1], ms=9, mec="white", mew=1.2)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, 1.02)
    low, high = one.parts.area_interval or (0.0, 1.0)
    note = f"area {one.parts.area:.3f}, 95 % interval {low:.3f} to {high:.3f}; dot: the thresholds that count"
    set_title(axes, "Bad parts against good ones", note)
    return figure


def _drawn(one: Assessment) -> list[tuple[int, str, Curve]]:
    """The classes that a plot has room for."""
    lines = [(index, name, line) for index, (name, line) in enumerate(one.curves.items())]
    return [row for row in lines[:_LINES] if row[2].boxes and len(row[2].scores)]


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Few enough points of a line."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(np.int64))
    return x[kept], y[kept]


def _square(axes: Axes, figure: Figure) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    if axes.lines:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
