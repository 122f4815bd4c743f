"""Make demo data: synthetic factory pictures with boxes, and a conveyor video."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vision_lora.options.command_line import run_verb
from vision_lora.options.tools import DemoConfig


def run(config: DemoConfig, console: Console) -> None:
    """Make what is not there yet, and say how to go on."""
    from vision_lora.datasets import open_dataset  # late: the readers take a second, --help should not
    from vision_lora.rendering.video import write_video
    from vision_lora.rendering.write import command, is_there, write_pictures

    folder = Path(config.out)
    file, video = folder / "defects.yaml", folder / "conveyor.mp4"
    # Both are asked before either is made: a mistake is told at once.
    made = {file: command(config.seed, config.test), video.with_suffix(".json"): command(config.seed)}
    todo = [config.exist_ok or not is_there(one, by) for one, by in made.items()]
    start = time.perf_counter()
    if todo[0]:
        with console.status("drawing pictures"):
            write_pictures(folder, config.seed, config.test)
    data = open_dataset(file)
    boxes = sum(len(sample.boxes) for samples in data.splits.values() for sample in samples)
    pictures = ", ".join(f"{split} {len(samples)}" for split, samples in data.splits.items())
    console.print(f"{file}: {pictures}; {boxes} boxes of {', '.join(data.names)}{_how(start, new=todo[0])}")
    start = time.perf_counter()
    if todo[1]:
        with console.status("drawing a video"):
            write_video(folder, config.seed)
    console.print(f"{video}: 10 s of a conveyor, its defects in {video.stem}.json{_how(start, new=todo[1])}")
    console.print(f"next: python -m vision_lora.train --data {file}")


def _how(start: float, *, new: bool) -> str:
    return f" ({time.perf_counter() - start:.1f} s)" if new else " (was there already)"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(DemoConfig, "demo", run, argv)


if __name__ == "__main__":
    sys.exit(main())
