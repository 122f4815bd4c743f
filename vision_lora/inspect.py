"""Look into an adapter file: what it learned, what it changes, and whether it fits a base."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vision_lora.options.command_line import run_verb
from vision_lora.options.tools import InspectConfig


def run(config: InspectConfig, console: Console) -> None:
    """Print the header and, layer by layer, how much is changed; fails where the adapter does not fit the base."""
    from vision_lora.adapters.file import load_adapter, precision_of
    from vision_lora.adapters.inspection import changes
    from vision_lora.detectors.load import load_detector

    adapter = load_adapter(config.file)
    card = adapter.card
    header = {
        "file": f"{config.file}, {Path(config.file).stat().st_size / 2**20:.2f} MiB",
        "base": f"{card.base} ({card.family})",
        "fingerprint": card.fingerprint,
        "classes": f"{len(card.names)}: {', '.join(card.names)}",
        "pass": "joint: one for the base's classes and these" if adapter.joint else "exact: beside the base's own",
        "trained at": f"{card.imgsz} px",
        "alpha": f"{card.alpha:g}",
        "numbers": ", ".join(f"{count:,} {part}" for part, count in adapter.parameter_count().items() if count)
        + f" ({precision_of(Path(config.file))})",
        "metrics": ", ".join(f"{json.dumps(name)[1:-1]} {_short(value)}" for name, value in card.metrics.items())
        or "none",
        "thresholds": ", ".join(f"{name} {value:.3g}" for name, value in card.thresholds.items())
        + (f" ({card.rule})" if card.rule else "")
        or "none",
        "written": f"{card.created or 'at an unknown time'} by vision_lora {card.version or 'of an unknown version'}",
    }
    for name, value in header.items():
        console.print(f"{name:<12} {value}")
    detector = None
    if config.model is not None:
        detector = load_detector(config.model, None, "cpu")
        detector.attach(adapter)  # the check: raises where it does not fit

    found = changes(adapter, None if detector is None else detector.network)
    largest = max((change.size for change in found if change.relative or detector is None), default=0.0)
    table = Table(box=None)
    table.add_column("layer")
    table.add_column("adapter")
    table.add_column("numbers", justify="right")
    table.add_column("size" if detector is None else "change", justify="right")
    table.add_column("", width=24)
    for change in found:
        variant = f"{change.variant} r{change.rank}" if change.rank else change.variant
        comparable = change.relative or detector is None
        size = f"{change.size:.1%}" if change.relative else f"{change.size:.3g}"
        bar = Bar(largest or 1.0, 0, change.size, width=24) if comparable else Text("new rows")
        table.add_row(Text(change.site), variant, f"{change.numbers:,}", size, bar)
    console.print(table)
    if detector is None:
        console.print("size: norm of what each layer gets; --model BASE compares it with the layer's weight")
    else:
        console.print(f"change: norm against the layer's weight; the adapter fits {config.model}")


def _short(value: object) -> str:
    """A metric in a few letters; as JSON, which shows control characters instead of sending them to the terminal."""
    return f"{value:.4f}" if isinstance(value, float) else json.dumps(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(InspectConfig, "inspect", run, argv)


if __name__ == "__main__":
    sys.exit(main())
