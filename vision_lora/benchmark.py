"""Measure time and memory of a training step and of inference, side by side: full, adapter, PEFT."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vision_lora.cli import run_verb
from vision_lora.config import BenchmarkConfig


def run(config: BenchmarkConfig, console: Console) -> None:
    """Measure, print a table, write JSON where asked."""
    import torch

    from vision_lora.outputs import check_file, write_json
    from vision_lora.training.bench import inference_rows, switch_rows, training_rows

    target = check_file("json", config.json, endings=(".json",))
    torch.set_num_threads(config.threads)
    rows = []
    for dtype in ("fp32", "bf16"):
        rows += training_rows(
            config.model,
            imgsz=config.imgsz,
            batch=config.batch,
            rank=config.rank,
            dtype=dtype,
            repeats=config.repeats,
            seed=config.seed,
        )
    rows += inference_rows(
        config.model,
        imgsz=config.imgsz,
        batch=1,
        rank=config.rank,
        repeats=5 * config.repeats,
        seed=config.seed,
    )
    rows += switch_rows(
        config.model, imgsz=config.imgsz, rank=config.rank, repeats=5 * config.repeats, seed=config.seed
    )
    table = Table("method", "dtype", "ms/image", "x first", "saved MiB/image", "x first", "images/s", box=None)
    table.columns[0].no_wrap = True
    for row in rows:
        memory = (f"{row.saved_mib_per_image:.0f}", f"{row.memory_ratio:.2f}") if row.saved_mib_per_image else ("", "")
        numbers = (f"{row.ms_per_image:.3g}", f"{row.time_ratio:.3f}", *memory, f"{row.images_per_second:.1f}")
        table.add_row(row.method, row.dtype, *numbers)
    console.print(table)
    console.print(
        f"{config.model}, {config.imgsz} px, batch {config.batch}, rank {config.rank}, {config.threads} CPU threads, "
        f"median of {config.repeats} turns; ratios to the first row of each group, turn by turn",
        markup=False,
    )
    if target is not None:
        write_json(target, [row.to_json() for row in rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(BenchmarkConfig, "benchmark", run, argv)


if __name__ == "__main__":
    sys.exit(main())
