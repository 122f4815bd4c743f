"""Plots of a comparison."""

from __future__ import annotations

import textwrap
from itertools import zip_longest

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vision_lora.comparison.methods import parse_methods
from vision_lora.comparison.report.result import Result, Row
from vision_lora.options.train import TrainConfig
from vision_lora.pictures.plots import COLOURS, GREY, new_figure, set_title

_MARKERS = "osD^vP*X"


@mpl.rc_context({"text.parse_math": False})  # a name with $ in it is no formula
def draw(result: Result) -> dict[str, Figure]:
    """The plots that the results allow, by file name without ending."""
    if not result.rows:
        return {}
    figures = {"accuracy_parameters": _by_parameters(result), "learning_curves": _curves(result)}
    if len(result.shots) > 1:
        figures["accuracy_pictures"] = _by_pictures(result)
    if result.base_kept is not None:
        figures["retention"] = _retention(result)
        if any(row.joint for row in result.of(result.largest)):
            figures["frontier"] = _frontier(result)
    return figures


def _by_parameters(result: Result) -> Figure:
    figure, axes = new_figure("trained parameters", "mAP50-95")
    rows, style = result.of(result.largest), _styles(result)
    places = _side_by_side(rows)
    for row, place in zip(rows, places, strict=True):
        mean, deviation = row.map50_95
        colour, marker = style[row.method]
        axes.errorbar(place, mean, deviation or 0, color=colour, marker=marker, ms=9, capsize=4, lw=1.6)
        axes.annotate(
            _folded(row.method),
            (place, mean),
            (9, 0),
            textcoords="offset points",
            color=colour,
            fontweight="bold",
            va="center",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: _count(number)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.25, y=0.2)
    set_title(axes, "Accuracy against what is trained", f"{_set(result.largest)}; bars: standard deviation over seeds")
    return figure


def _by_pictures(result: Result) -> Figure:
    figure, axes = new_figure("pictures that show a class, mean over classes", "mAP50-95")
    for method, (colour, marker) in _styles(result).items():
        rows = sorted((row for row in result.rows if row.method == method), key=lambda row: row.images_per_class)
        places = [row.images_per_class for row in rows]
        means = np.array([row.map50_95.mean for row in rows])
        spreads = np.array([row.map50_95.deviation or 0 for row in rows])
        axes.plot(places, means, color=colour, marker=marker, ms=7, lw=2, label=_folded(method))
        axes.fill_between(places, means - spreads, means + spreads, color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log")
    ticks = sorted({round(row.images_per_class, 1) for row in result.rows})
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside right upper", frameon=False)
    set_title(axes, "Accuracy against training pictures", "bands: standard deviation over seeds")
    return figure


def _curves(result: Result) -> Figure:
    figure, axes = new_figure("share of the training", "mAP50-95 on val")
    for row in result.of(result.largest):
        colour, _ = _styles(result)[row.method]
        # Methods may count epochs differently: all start at 0 and end at 1.
        curves = list(zip_longest(*(run.curve for run in row.runs), fillvalue=np.nan))
        values = np.array(curves)  # (epochs, seeds)
        places = np.arange(1, len(values) + 1) / len(values)
        axes.plot(
            places,
            np.nanmean(values, 1),
            color=colour,
            lw=2,
            marker="." if len(values) < 25 else None,
            label=_folded(row.method) + (" (by its own measure)" if row.method.startswith("ultralytics") else ""),
        )
        axes.fill_between(places, np.nanmin(values, 1), np.nanmax(values, 1), color=colour, alpha=0.12, lw=0)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    figure.legend(loc="outside right upper", frameon=False)
    set_title(axes, "Learning curves", f"{_set(result.largest)}; mean over seeds, bands from lowest to highest")
    return figure


def _retention(result: Result) -> Figure:
    rows, style = result.of(result.largest), _styles(result)
    figure, axes = new_figure("mAP50-95 of the base's own classes", "", height=1.6 + 0.5 * len(rows))
    labels = ["base", *(_folded(row.method) for row in rows)]
    values = [result.base_kept or 0, *(row.kept or 0 for row in rows)]
    colours = [GREY, *(style[row.method][0] for row in rows)]
    places = np.arange(len(labels))[::-1]
    axes.barh(places, values, color=colours, height=0.62)
    for place, value in zip(places, values, strict=True):
        text = f"{value:.3f}" if value else "lost: its class rows are replaced"
        axes.text(value + 0.008 * max(values), place, text, va="center", color="#212529" if value else GREY)
    axes.set_yticks(places, labels)
    axes.set_xlim(0, 1.2 * max(values))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    set_title(axes, "What is left of the base's own classes", "")
    return figure


def _frontier(result: Result) -> Figure:
    figure, axes = new_figure("mAP50-95 of the base's own classes", "mAP50-95 of the new classes")
    style, held = _styles(result), {}
    for row in result.of(result.largest):
        if row.kept is None:
            continue
        place = (row.kept, row.map50_95.mean)
        weight = _held(row.method)
        if weight is not None:
            held[weight] = (place, style[row.method][0])
            continue
        colour, marker = style[row.method]
        label = row.method if row.joint else f"{row.method}: two passes"
        axes.plot(*place, color=colour, marker=marker, ms=10, lw=0, label=_folded(label))
    weights = sorted(held)
    if weights:
        colour = held[weights[0]][1]
        line = np.array([held[weight][0] for weight in weights])
        axes.plot(line[:, 0], line[:, 1], color=colour, marker="o", ms=7, lw=2, label="joint, by --retain-weight")
        for weight, place in zip(weights, line, strict=True):
            chosen = weight == TrainConfig.retain_weight
            axes.plot(*place, color=colour, marker="o", ms=15 if chosen else 0, mfc="none", mew=2)
            text = f"{weight:g}, the default" if chosen else f"{weight:g}"
            axes.annotate(text, place, (-12, -16), textcoords="offset points", ha="right", color=colour)
    axes.axvline(result.base_kept or 0, color=GREY, ls="--", lw=1.2, label="base")
    axes.margins(0.12, 0.2)
    figure.legend(loc="outside lower center", frameon=False, ncols=4)
    set_title(axes, "New classes against old ones, in one detector", "")
    return figure


def _held(method: str) -> float | None:
    """How strongly a joint adapter is held to the base; None for other methods, and with other options of its own."""
    (parsed,) = parse_methods(method, (0.001,))
    options = dict(parsed.options)
    weight = float(options.pop("retain_weight", TrainConfig.retain_weight))
    return weight if options == {"method": "lora", "joint": True} else None


def _folded(method: str) -> str:
    """The name in lines that leave room for the axes, however many options it has."""
    return textwrap.fill(method.replace(":", ": "), 26, break_long_words=False).replace(": ", ":")


def _side_by_side(rows: list[Row]) -> list[float]:
    """Where to draw each row: at its number of parameters, equal ones a little apart."""
    equal = [[other.method for other in rows if other.trainable_parameters == row.trainable_parameters] for row in rows]
    shifts = [same.index(row.method) - (len(same) - 1) / 2 for row, same in zip(rows, equal, strict=True)]
    return [row.trainable_parameters * 1.09**shift for row, shift in zip(rows, shifts, strict=True)]


def _styles(result: Result) -> dict[str, tuple[str, str]]:
    """Colour and marker of each method, the same in every plot."""
    methods = list(dict.fromkeys(row.method for row in result.rows))
    return {
        method: (COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)]) for index, method in enumerate(methods)
    }


def _count(number: float) -> str:
    """A count in short: `284k`, `2.6M`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _set(shots: str) -> str:
    return f"{shots} training pictures a class" if shots.isdecimal() else f"training set: {shots}"
