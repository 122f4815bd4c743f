"""What a run shows: on a terminal a bar that moves, in a log plain lines."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from vision_lora.training.loop.listener import Brief, Listener, losses_of

if TYPE_CHECKING:
    from vision_lora.training.runs.summary import RunSummary

SILENCE = 60.0  # seconds after which a log hears of a step, where an epoch takes longer


class Terminal(Listener):
    """Shows what a run will do, a bar for each epoch's steps, a line an epoch, and what came of it.

    Args:
        console: where to print.
        verbose: print layers, classes and skipped labels one by one.
    """

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self.console, self.verbose = console, verbose
        self.epochs = 0
        self.loading = 0.0  # share of the epoch's time that is spent waiting for pictures
        self.clock: Clock | None = None
        self.status = console.status("opening pictures")
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.progress.add_task("", total=None, epoch=1, epochs=0, told="")

    def opening(self) -> None:
        if self.console.is_terminal:
            self.status.start()
        else:
            self.console.print("opening pictures")

    def started(self, brief: Brief) -> None:
        self.status.stop()
        for topic, line in brief.lines.items():
            self.console.print(f"{topic:<8} {line}")
        if self.verbose and brief.plan is not None:
            self.console.print(brief.plan.table())
        self.epochs = brief.config.epochs
        self.progress.start()

    def noted(self, line: str) -> None:
        self._print(line)
        self.clock = None  # epochs may begin anew, as those of another candidate

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        self.loading = row["loading"]
        done = (epoch - 1) * steps + step
        self.clock = self.clock or Clock(done)
        left = self.clock.left(done, self.epochs * steps)
        told = f"{_losses(row)}  {row['images_per_second']:.1f} images/s{left}"
        self.progress.update(self.task, total=steps, completed=step, epoch=epoch, epochs=self.epochs, told=told)
        if not self.console.is_terminal and self.clock.silent > SILENCE:
            self._print(f"epoch {epoch:3d}  step {step}/{steps}  {told}")

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        limit = " (loading is the limit: --workers)" if self.loading > 0.5 else ""
        self._print(
            f"epoch {int(row['epoch']):3d}  {_losses(row)}  val mAP50-95 {row['map50_95']:.4f}  "
            f"mAP50 {row['map50']:.4f}  {row['images_per_second']:.1f} images/s{limit}{'  best' if best else ''}"
        )

    def ended(self, summary: RunSummary) -> None:
        self.progress.stop()
        scores = f"val mAP50-95 {summary.val.map50_95:.4f}, mAP50 {summary.val.map50:.4f}"
        self.console.print(f"\nbest: {scores}, epoch {summary.best_epoch} of {summary.epochs}")
        if self.verbose:
            for name, found in summary.val.per_class.items():
                if found.boxes:
                    self.console.print(f"  {name:<20} mAP50-95 {found.map50_95:.4f}  mAP50 {found.map50:.4f}")
        self._skipped(summary)
        beside = "each class's mAP, curves, predictions and report/report.html beside it"
        self.console.print(f"file: {summary.result} ({summary.adapter_bytes / 1e6:.2f} MB; {beside})")
        result = shlex.quote(str(summary.result))
        used = f"{shlex.quote(summary.model)} --adapter {result}" if summary.method == "lora" else result
        self.console.print(f"next: python -m vision_lora.predict --model {used} --source PICTURES")

    def closed(self) -> None:
        self.status.stop()
        self.progress.stop()

    def _skipped(self, summary: RunSummary) -> None:
        """Broken labels and pictures: how many, and the first, or all."""
        lines = summary.skipped
        if not lines:
            return
        shown = list(lines) if self.verbose else [f"{lines[0]}; all of them in {summary.out / 'summary.json'}"]
        self.console.print("\n  ".join([f"skipped {len(lines)} broken labels or pictures:", *shown]))

    def _print(self, line: str) -> None:
        self.console.print(line)
        if self.clock is not None:
            self.clock.told()


class Clock:
    """How long a run will still take, and how long nothing was told of it.

    Args:
        step: the first that is heard of, counted over all epochs.
    """

    def __init__(self, step: int) -> None:
        self._step, self._began = step, time.monotonic()
        self._told = self._began

    def left(self, step: int, steps: int) -> str:
        """The time until the last of all steps, with validation as it has gone so far; empty at first."""
        if step == self._step:
            return ""
        seconds = (time.monotonic() - self._began) / (step - self._step) * (steps - step)
        return f"  {timedelta(seconds=round(seconds))} left"

    def told(self) -> None:
        """Something was told now."""
        self._told = time.monotonic()

    @property
    def silent(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._told


def _losses(row: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in losses_of(row).items())
