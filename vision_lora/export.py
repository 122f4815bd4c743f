"""Write a plain network for deployment: checkpoint, ONNX or OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from vision_lora.options.command_line import run_verb
from vision_lora.options.tools import ExportConfig


def run(config: ExportConfig, console: Console) -> None:
    """Export, and print what was written and how to feed it."""
    from vision_lora.detectors.export import check_export, export
    from vision_lora.detectors.load import load_detector
    from vision_lora.system.outputs import check_file

    check_file("out", config.out, inputs=(config.model, config.adapter))
    out = check_export(config.out, config.format, exist_ok=config.exist_ok)
    detector = load_detector(config.model, config.adapter, "cpu")
    imgsz = config.imgsz or detector.imgsz
    exported = export(detector, out, config.format, imgsz)
    what = f"{detector.base} with {config.adapter} merged" if config.adapter else detector.base
    for file in exported.files:
        console.print(f"wrote {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    console.print(f"{what}: {len(exported.names)} classes: {', '.join(exported.names)}")
    if config.format != "pt":
        console.print(f"in:  (batch, 3, {imgsz}, {imgsz}) RGB, 0 to 1, letterboxed with grey 114")
        console.print(f"out: {exported.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(ExportConfig, "export", run, argv)


if __name__ == "__main__":
    sys.exit(main())
