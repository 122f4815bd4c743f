"""What a report of a comparison says, in its order, once for Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vision_lora.comparison.report import tables
from vision_lora.comparison.report.advice import advice
from vision_lora.comparison.report.notes import notes
from vision_lora.comparison.report.result import Result
from vision_lora.comparison.report.tables import Table


@dataclass(frozen=True)
class Heading:
    """The title of what follows."""

    text: str


@dataclass(frozen=True)
class Advice:
    """What follows from the comparison, in a sentence or two."""

    text: str


@dataclass(frozen=True)
class Command:
    """What makes the comparison again."""

    text: str


@dataclass(frozen=True)
class Note:
    """A line on what follows."""

    text: str


@dataclass(frozen=True)
class Figures:
    """All plots that there are."""


@dataclass(frozen=True)
class Lines:
    """A list."""

    lines: tuple[str, ...]


Part = Heading | Advice | Command | Note | Figures | Lines | Table


def parts(result: Result) -> Iterator[Part]:
    """The report from top to bottom, below its title."""
    yield Advice(advice(result))
    yield Command(result.command)
    yield Figures()
    for shots in result.shots:
        yield Heading(tables.training_set(shots, result.of(shots)))
        yield tables.accuracy(result, shots)
        yield tables.cost(result, shots)
        yield Note("mAP50-95 by class, mean over seeds:")
        yield tables.classes(result, shots)
    if any(len(row.trials) > 1 for row in result.rows):
        yield Heading("Learning rates")
        yield tables.search(result)
    yield Heading("Every run")
    yield tables.seeds(result)
    lists = {"How it was measured": notes(result), "Runs that failed": result.missing, "Skipped": result.problems}
    for title, lines in lists.items():
        if lines:
            yield Heading(title)
            yield Lines(tuple(lines))
