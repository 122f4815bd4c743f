"""Teach a detector new classes: data in, one small adapter file out."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vision_lora.options.command_line import run_verb
from vision_lora.options.verbs import TrainConfig

if TYPE_CHECKING:
    from vision_lora.adapters.plan import Plan
    from vision_lora.datasets.sample import Dataset


class Terminal:
    """Shows a session: what trains, a progress bar with losses and time left, a line an epoch."""

    def __init__(self, console: Console, epochs: int) -> None:
        self.console = console
        self.epochs = epochs
        self.loading = 0.0  # share of the epoch's time that is spent waiting for pictures
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}  {task.fields[speed]:.1f} images/s", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.progress.add_task("", total=None, epoch=1, epochs=epochs, losses="", speed=0.0)

    def started(self, plan: Plan | None, counts: Mapping[str, int], total: int, dataset: Dataset, out: Path) -> None:
        if plan is not None:
            self.console.print(plan.table())
        trained = sum(counts.values())
        parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        self.console.print(f"\ntrains {trained:,} of {total:,} parameters ({trained / total:.1%}): {parts}")
        sizes = ", ".join(f"{split} {len(samples):,}" for split, samples in dataset.splits.items())
        self.console.print(f"pictures: {sizes}; classes: {', '.join(dataset.names)}\nresults: {out}\n")
        self.progress.start()

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        self.loading = row["loading"]
        self.progress.update(
            self.task,
            total=self.epochs * steps,
            completed=(epoch - 1) * steps + step,
            epoch=epoch,
            losses=_losses(row),
            speed=row["images_per_second"],
        )

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        limit = " (loading is the limit: --workers)" if self.loading > 0.5 else ""
        self.console.print(
            f"epoch {int(row['epoch']):3d}  {_losses(row)}  val mAP50-95 {row['map50_95']:.4f}  "
            f"mAP50 {row['map50']:.4f}  {row['images_per_second']:.1f} images/s{limit}{'  best' if best else ''}"
        )


def run(config: TrainConfig, console: Console) -> None:
    """Train, and say where the result is and how to use it."""
    from vision_lora.training.session import train  # late: torch takes seconds, --help should not

    terminal = Terminal(console, config.epochs)
    try:
        summary = train(config, terminal)
    finally:
        terminal.progress.stop()
    values = summary.values
    scores = f"val mAP50-95 {values['map50_95']:.4f}  mAP50 {values['map50']:.4f}"
    console.print(f"\n{scores}  (epoch {values['best_epoch']})")
    for name, result in values["per_class"].items():
        if result["boxes"]:
            console.print(f"  {name:<20} mAP50-95 {result['map50_95']:.4f}  mAP50 {result['map50']:.4f}")
    if skipped := values["skipped"]:
        console.print(f"skipped {len(skipped)} broken labels or pictures:")
        for line in skipped:
            console.print(f"  {line}")
    console.print(f"report: {summary.out / 'report' / 'report.html'}")
    console.print(f"{summary.result}: {values['adapter_bytes'] / 1e6:.2f} MB")
    result = shlex.quote(str(summary.result))
    used = f"{shlex.quote(summary.model)} --adapter {result}" if values["method"] == "lora" else result
    console.print(f"next: python -m vision_lora.predict --model {used} --source PICTURES")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code: 130 after Ctrl-C or SIGTERM."""
    with _stopped_once():
        return run_verb(TrainConfig, "train", run, argv)


@contextmanager
def _stopped_once() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does; what comes after the first of them does not disturb the saving."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def stop(*_: object) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _losses(row: Mapping[str, float]) -> str:
    hidden = ("epoch", "lr", "map50_95", "map50", "images_per_second", "loading")
    return "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name not in hidden)


if __name__ == "__main__":
    sys.exit(main())
