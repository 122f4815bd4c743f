"""Tables of a comparison, for the report and for the docs alike."""

from __future__ import annotations

from collections.abc import Sequence

from vision_lora.comparison.report.result import Result, Row
from vision_lora.comparison.stats import Interval, Spread
from vision_lora.text.markup import Cell, Strong, in_markdown

Table = tuple[list[str], list[list[Cell]]]  # head and rows; the first column is text, the others are numbers

LOST = "lost"


def markdown(table: Table) -> str:
    """The table in Markdown, numbers to the right.

    Examples:
        >>> print(markdown((["method", "mAP50"], [["lora", "0.75"]])))
        | method | mAP50 |
        |---|---:|
        | lora | 0.75 |
    """
    head, rows = table
    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([_line(head), rule, *map(_line, rows)])


def accuracy(result: Result, shots: str) -> Table:
    """Accuracy of each method on a training set."""
    rows = result.of(shots)
    first = rows[0].method if rows else ""
    head = ["method", "mAP50-95", "mAP50", f"mAP50-95 less {first}'s, 95 % interval", "learning rate"]
    asked = result.base_kept is not None
    if asked:
        head.append(f"base's classes: mAP50-95 (base {result.base_kept:.3f})")
    cells: list[list[Cell]] = [
        [
            name(row, best=row.to_best is None and len(rows) > 1),
            value(row.map50_95),
            value(row.map50),
            gap(row.to_first),
            "its own" if row.lr is None else f"{row.lr:g}",
            *([kept(row)] if asked else []),
        ]
        for row in rows
    ]
    return head, cells


def short(result: Result, shots: str) -> Table:
    """Accuracy and cost of each method in one table."""
    head, cells = accuracy(result, shots)
    costs, prices = cost(result, shots)
    chosen = [costs.index(name) for name in ("trains", "file, MB", "s a step", "training, min")]
    return [*head, *(costs[index] for index in chosen)], [
        [*row, *(price[index] for index in chosen)] for row, price in zip(cells, prices, strict=True)
    ]


def cost(result: Result, shots: str) -> Table:
    """What each method costs on a training set."""
    rows = result.of(shots)
    saved = any(row.saved_mib is not None for row in rows)
    head = ["method", "trains", "file, MB", "s a step", "images/s", "training, min", "peak memory, MiB"]
    cells: list[list[Cell]] = [
        [
            name(row),
            f"{row.trainable_parameters:,} ({row.trainable_parameters / row.total_parameters:.1%})",
            f"{row.bytes / 1e6:.2f}",
            f"{row.seconds_per_step:.3g}",
            f"{row.images_per_second:.3g}",
            f"{row.wall_seconds / 60:.2f}",
            f"{row.peak_memory_mib:.0f}",
            *(["-" if row.saved_mib is None else f"{row.saved_mib:.0f}"] if saved else []),
        ]
        for row in rows
    ]
    return [*head, *(["kept for backward, MiB a step"] if saved else [])], cells


def classes(result: Result, shots: str) -> Table:
    """Mean mAP50-95 over the seeds, by class."""
    head = ["method", *result.facts["names"]]
    return head, [[name(row), *(_class_mean(row, one) for one in result.facts["names"])] for row in result.of(shots)]


def search(result: Result) -> Table:
    """Trials of learning rates, on val."""
    rows = [row for row in result.rows if len(row.trials) > 1]
    cells: list[list[Cell]] = [[row.method, row.shots, _trials(row)] for row in rows]
    return ["method", "training set", "learning rate: mAP50-95 on val"], cells


def seeds(result: Result) -> Table:
    """Every run."""
    head = ["run", "seed", "mAP50-95", "mAP50", "val mAP50-95", "best epoch", "min"]
    cells: list[list[Cell]] = [
        [
            f"{row.method}, {row.shots}",
            str(run.seed),
            f"{run.map50_95:.4f}",
            f"{run.map50:.4f}",
            f"{run.val_map50_95:.4f}",
            str(run.best_epoch),
            f"{run.wall_seconds / 60:.1f}",
        ]
        for row in result.rows
        for run in row.runs
    ]
    return head, cells


def name(row: Row, *, best: bool = False) -> str:
    """The method's name, bold where it is the best."""
    return Strong(row.method) if best else row.method


def value(spread: Spread) -> str:
    """Mean and deviation in three digits."""
    return f"{spread.mean:.3f}" if spread.deviation is None else f"{spread.mean:.3f} ± {spread.deviation:.3f}"


def gap(interval: Interval | None) -> str:
    """A difference with its interval; a dash for the reference."""
    return "-" if interval is None else f"{interval.difference:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def kept(row: Row) -> str:
    """What is left of the base's classes."""
    if not row.keeps_classes:
        return LOST
    if row.kept is None:  # two passes leave the base as it is, one does not
        return "not measured" if row.joint else "kept"
    return f"{row.kept:.3f}{', to the bit' if row.identical else ''}"


def training_set(shots: str, rows: Sequence[Row]) -> str:
    """A training set in words: `10 a class (61 pictures)`."""
    pictures = f"{rows[0].images:,.0f} pictures" if rows else "no picture"
    return f"{shots} a class ({pictures})" if shots.isdecimal() else f"{shots} ({pictures})"


def _line(cells: Sequence[Cell]) -> str:
    return f"| {' | '.join(map(in_markdown, cells))} |"


def _trials(row: Row) -> tuple[str, ...]:
    """Each learning rate that was tried with its score, the chosen one bold."""
    told = [(f"{lr:g}: {score:.4f}", lr == row.lr) for lr, score in row.trials if lr is not None]
    parts = [part for text, chosen in told for part in (", ", Strong(text) if chosen else text)]
    return tuple(parts[1:])


def _class_mean(row: Row, one: str) -> str:
    scores = [run.per_class[one][0] for run in row.runs]
    known = [score for score in scores if score is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"
