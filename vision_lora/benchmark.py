"""Measure time and memory of training steps and of inference, side by side: full, adapter, PEFT."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from vision_lora.options.command_line import run_verb
from vision_lora.options.compare import BenchmarkConfig


def run(config: BenchmarkConfig, console: Console) -> None:
    """Measure, print a table, write JSON where asked."""
    from vision_lora.system.devices import pick_device
    from vision_lora.system.outputs import check_file, write_json

    target = check_file("json", config.json, endings=(".json",))
    on_gpu = pick_device(config.device).type == "cuda"
    rows = (_on_gpu if on_gpu else _on_cpu)(config, console)
    where = "bf16" if on_gpu else f"{config.threads} CPU threads"
    console.print(
        f"{config.model}, {config.sizes}, rank {config.rank}, {where}, median of {config.repeats} turns; "
        "ratios to the first row of each group, turn by turn"
    )
    if target is not None:
        write_json(target, rows)


def _on_cpu(config: BenchmarkConfig, console: Console) -> list[dict[str, Any]]:
    """Training in fp32 and bf16, inference, and switching between adapters."""
    import torch

    from vision_lora.benchmarks.steps import inference_rows, switch_rows, training_rows

    torch.set_num_threads(config.threads)
    often = 5 * config.repeats
    model, rank, seed = config.model, config.rank, config.seed
    rows = []
    for imgsz, batch in config.pairs:
        for dtype in ("fp32", "bf16"):
            rows += training_rows(
                model, imgsz=imgsz, batch=batch, rank=rank, dtype=dtype, repeats=config.repeats, seed=seed
            )
        rows += inference_rows(model, imgsz=imgsz, batch=1, rank=rank, repeats=often, seed=seed)
        rows += switch_rows(model, imgsz=imgsz, rank=rank, repeats=often, seed=seed)
    table = Table("method", "dtype", "px", "ms/image", "x first", "saved MiB/image", "x first", "images/s", box=None)
    table.columns[0].no_wrap = True
    for row in rows:
        memory = (f"{row.saved_mib_per_image:.0f}", f"{row.memory_ratio:.2f}") if row.saved_mib_per_image else ("", "")
        numbers = (f"{row.ms_per_image:.3g}", f"{row.time_ratio:.3f}", *memory, f"{row.images_per_second:.1f}")
        table.add_row(row.method, row.dtype, str(row.imgsz), *numbers)
    console.print(table)
    return [row.to_json() for row in rows]


def _on_gpu(config: BenchmarkConfig, console: Console) -> list[dict[str, Any]]:
    """Training steps of each size, as a plain loop and as a graph."""
    import torch

    from vision_lora.benchmarks.gpu import gpu_rows

    table = Table("method", "way", "px", "batch", "ms", "x full", "x full graph", "MiB/image", "x full", box=None)
    rows = []
    for imgsz, batch in config.pairs:
        rows += gpu_rows(
            config.model,
            imgsz=imgsz,
            batch=batch,
            rank=config.rank,
            dtype="bf16",
            repeats=config.repeats,
            device=config.device,
            seed=config.seed,
        )
    for row in rows:
        times = (f"{row.ms:.1f}", f"{row.by_full:.3f}", f"{row.by_full_graph:.3f}")
        memory = (f"{row.mib_per_image:.1f}", f"{row.memory_by_full:.2f}")
        table.add_row(row.method, row.way, str(row.imgsz), str(row.batch), *times, *memory)
    console.print(table)
    name = torch.cuda.get_device_name(config.device)
    return [{"model": config.model, "device": name, "torch": torch.__version__, **row.to_json()} for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(BenchmarkConfig, "benchmark", run, argv)


if __name__ == "__main__":
    sys.exit(main())
