"""What is left of a training's rate beside other work, in turn with its rate alone.

`python -m vision_lora.benchmarks.busy --busy 1 --json busy.json`
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from vision_lora.options import common
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.rendering.write import ensure_demo
from vision_lora.system.outputs import check_file, write_json


@dataclass(frozen=True)
class BusyBenchConfig(Options):
    """Measure training beside processes that keep a core busy each: pictures a second, alone and beside, in turn."""

    data: str = option("data/demo/defects.yaml", common.DATA)
    model: str = option("starter", common.BASE)
    imgsz: int = common.side(320, "side of the square pictures")
    batch: int = option(16, "pictures in a training step", at_least=1)
    draws: int = option(0, "pictures in an epoch, at least", at_least=0)
    workers: int = common.workers("processes that load pictures", 1)
    threads: int = common.threads("CPU threads that compute; 0: as `train` chooses")
    busy: int = option(1, "processes that keep a core busy each", at_least=1)
    repeats: int = option(3, "turns; in each, one training runs alone and one beside", at_least=1)
    json: str | None = option(None, "file for the rates as JSON")


def rate(config: BusyBenchConfig, out: Path) -> float:
    """Pictures a second in the second epoch of a run: by then nothing is made ready any more."""
    given = {"data": config.data, "model": config.model, "imgsz": config.imgsz, "batch": config.batch, "out": out}
    given |= {"draws": config.draws, "workers": config.workers, "threads": config.threads, "epochs": 2, "device": "cpu"}
    words = [f"--{name}={value}" for name, value in given.items()]
    subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "vision_lora.train", *words], check=True, stdout=subprocess.DEVNULL
    )
    with (out / "results.csv").open(encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["images_per_second"])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each, for a while."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run(config: BusyBenchConfig, console: Console) -> None:
    """Measure and print."""
    target = check_file("json", config.json)
    ensure_demo(config.data)
    alone, beside = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(config.repeats):
            alone.append(rate(config, Path(folder) / f"alone {turn}"))
            with busy(config.busy):
                beside.append(rate(config, Path(folder) / f"beside {turn}"))
            console.print(f"turn {turn + 1}: alone {alone[-1]:.1f}, beside {beside[-1]:.1f} images/s")
    ratio = statistics.median(second / first for first, second in zip(alone, beside, strict=True))
    console.print(f"ratio {ratio:.2f} beside {config.busy} busy on {os.cpu_count()} cores, median of the turns")
    if target is not None:
        write_json(target, {"alone": alone, "beside": beside, "ratio": ratio, "torch": torch.__version__})


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(BusyBenchConfig, "benchmarks.busy", run, argv)


if __name__ == "__main__":
    sys.exit(main())
