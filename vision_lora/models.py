"""List the detectors that can be loaded, with their size and what an adapter changes in them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from vision_lora.options.command_line import run_verb
from vision_lora.options.tools import ModelsConfig

if TYPE_CHECKING:
    from vision_lora.adapters.plan import Plan
    from vision_lora.detectors.base import Detector


def run(config: ModelsConfig, console: Console) -> None:
    """Print a line for each kind of detector, or one detector's layers."""
    from vision_lora.detectors.load import load_base, models  # late: torch takes seconds, --help should not

    if config.model is not None:
        console.print(_plan(load_base(config.model), config).table())
        return
    rows = [("--model", "parameters", "layers", "adapted", "trains", "share", "sizes or kinds")]
    with console.status("building each of them once, with random weights"):
        for model in models():
            numbers = ("",) * 5 if model.build is None else _numbers(model.build(), config)
            rows.append((model.name, *numbers, model.choice))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *middle, choice in rows:
        columns = [f"{number:>{width}}" for number, width in zip(middle, widths[1:-1], strict=True)]
        console.print("  ".join((f"{name:<{widths[0]}}", *columns, choice)))
    console.print(
        "of each kind the smallest; adapters for one new class; with --model NAME, or an architecture such as "
        "yolo11m.yaml, its layers",
    )


def _numbers(detector: Detector, config: ModelsConfig) -> tuple[str, str, str, str, str]:
    plan = _plan(detector, config)
    total = sum(parameter.numel() for parameter in detector.network.parameters())
    layers, adapted = len(plan.entries), len(plan.adapted)
    return f"{total:,}", f"{layers}", f"{adapted}", f"{plan.parameters:,}", f"{plan.parameters / total:.1%}"


def _plan(detector: Detector, config: ModelsConfig) -> Plan:
    from vision_lora.detectors.new_adapter import plan_adapter

    return plan_adapter(detector, 1, rank=config.rank, variant=config.variant, placement=config.placement)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(ModelsConfig, "models", run, argv)


if __name__ == "__main__":
    sys.exit(main())
