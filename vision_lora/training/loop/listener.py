"""Who follows a run: a terminal, a program's own callback, trackers; all hear the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_lora.options.train import TrainConfig
from vision_lora.training.runs.summary import Summary

if TYPE_CHECKING:
    from vision_lora.adapters.plan import Plan  # imports torch, which takes seconds

Row = dict[str, float]

_NO_LOSS = frozenset({"epoch", "lr", "map50_95", "map50", "images_per_second", "loading"})


def losses_of(row: Mapping[str, float]) -> Row:
    """The losses among what is told of a step or an epoch.

    Examples:
        >>> losses_of({"epoch": 1, "lr": 0.01, "box": 1.5, "map50": 0.3})
        {'box': 1.5}
    """
    return {name: value for name, value in row.items() if name not in _NO_LOSS}


@dataclass(frozen=True)
class Brief:
    """What a run is going to do.

    Attributes:
        config: its options, those that follow from the pictures decided.
        folder: where its results go.
        lines: what it learns from, what it learns, how, with what, and where the results go, a line each, by topic.
        plan: layer by layer; None where no new adapter is trained.
        resumed: whether it goes on from where another one was interrupted.
    """

    config: TrainConfig
    folder: Path
    lines: Mapping[str, str]
    plan: Plan | None
    resumed: bool


class Listener:
    """Follows a run; hears all of it and does nothing, until a subclass does."""

    def opening(self) -> None:
        """Before the pictures are opened."""

    def started(self, brief: Brief) -> None:
        """Before the first step."""

    def noted(self, line: str) -> None:
        """What the run chooses by itself, when it does."""

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        """After each step of an epoch, both from 1, with its mean losses, `images_per_second` and `loading`.

        On a GPU after some of them.
        """

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        """After each epoch, with everything that `results.csv` holds of it."""

    def ended(self, summary: Summary) -> None:
        """After the last epoch, when everything is written."""

    def closed(self) -> None:
        """At the very end, however that came."""


class Listeners(Listener):
    """Several of them, told in their order.

    Args:
        listeners: who they are.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = tuple(listeners)

    def opening(self) -> None:
        for listener in self._listeners:
            listener.opening()

    def started(self, brief: Brief) -> None:
        for listener in self._listeners:
            listener.started(brief)

    def noted(self, line: str) -> None:
        for listener in self._listeners:
            listener.noted(line)

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        for listener in self._listeners:
            listener.stepped(epoch, step, steps, row)

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        for listener in self._listeners:
            listener.validated(row, best=best)

    def ended(self, summary: Summary) -> None:
        for listener in self._listeners:
            listener.ended(summary)

    def closed(self) -> None:
        for listener in self._listeners:
            listener.closed()
