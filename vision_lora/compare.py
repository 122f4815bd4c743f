"""Compare methods on your data: which is best, by how much, and what each costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from vision_lora.options.command_line import run_verb
from vision_lora.options.compare import CompareConfig

if TYPE_CHECKING:
    from vision_lora.comparison.cells.cell import Cell


class Terminal:
    """Shows a comparison: a line for each finished run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.runs = self.done = 0
        self.started = time.monotonic()

    def planned(self, runs: int, done: int) -> None:
        self.runs, self.done = runs, done
        earlier = f", {done} of them finished by an earlier call" if done else ""
        self.console.print(f"{runs} runs{earlier}")

    def finished(self, cell: Cell, error: str | None) -> None:
        self.done += 1
        minutes = f"{(time.monotonic() - self.started) / 60:.1f} min"
        trained, scored = cell.trained, cell.scored
        if error is not None or trained is None:
            told = f"failed: {error}; all it said: {cell.folder / 'log.txt'}"
        elif scored is None:
            told = f"val mAP50-95 {trained.map50_95:.4f}"
        else:
            told = f"mAP50-95 {scored.result['map50_95']:.4f}  mAP50 {scored.result['map50']:.4f}"
        self.console.print(f"{self.done:3d}/{self.runs}  {minutes:>9}  {cell}: {told}")


def run(config: CompareConfig, console: Console) -> int:
    """Run what is missing, report everything."""
    from vision_lora.comparison.grid import plan_grid, run_grid
    from vision_lora.comparison.report import tables
    from vision_lora.comparison.report.advice import advice
    from vision_lora.comparison.report.result import collect
    from vision_lora.comparison.report.write import write_report

    grid = plan_grid(config)
    try:
        failed = run_grid(grid, Terminal(console))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished runs are kept in {grid.root}; the same command goes on") from None
    result = collect(grid, failed)
    files = write_report(result, grid.root)
    for shots in result.shots:
        table = Table("method", "mAP50-95", "mAP50", "less the first, 95 %", "trains", "base's classes", box=None)
        for row in result.of(shots):
            scores = tables.value(row.map50_95), tables.value(row.map50), tables.gap(row.to_first)
            table.add_row(row.method, *scores, f"{row.trainable_parameters:,}", tables.kept(row))
        console.print(f"\n{tables.training_set(shots, result.of(shots))}")
        console.print(table)
    console.print(f"\n{advice(result)}")
    for problem in result.problems:
        console.print(f"skipped {problem}")
    console.print(f"report: {', '.join(map(str, files.values()))}")
    for cell, said in failed:
        console.print(f"failed: {cell}: {said}; the same command tries it again")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(CompareConfig, "compare", run, argv)


if __name__ == "__main__":
    sys.exit(main())
