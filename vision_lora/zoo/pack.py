"""Write the starter base from the checkpoint that its training left: `python -m vision_lora.zoo.pack best.pt`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from vision_lora.options import common
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option


@dataclass(frozen=True)
class PackConfig(Options):
    """Write the starter base from the checkpoint that its training left."""

    file: str = option(
        "",
        "best.pt of a run with --method full",
        required="a checkpoint: python -m vision_lora.zoo.pack best.pt",
        positional=True,
    )
    imgsz: int = common.side(288, "side of the square pictures that it was trained on")
    out: str | None = option(None, "file to write; default: the package's own")


def run(config: PackConfig, console: Console) -> None:
    """Write the file, and say how large it is."""
    from vision_lora.detectors.checkpoints import starter, weights  # late: torch takes seconds, --help should not
    from vision_lora.system.outputs import check_file

    out = check_file("out", config.out) or starter.FILE
    network, _ = weights.read_network(config.file)
    starter.write_starter(network, config.imgsz, out)
    console.print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(PackConfig, "zoo.pack", run, argv)


if __name__ == "__main__":
    sys.exit(main())
