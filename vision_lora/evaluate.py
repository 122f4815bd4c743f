"""Measure mAP on a split of a dataset, with or without an adapter."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vision_lora.options.command_line import run_verb
from vision_lora.options.detect import EvaluateConfig


def run(config: EvaluateConfig, console: Console) -> None:
    """Measure and print; write JSON where asked."""
    from vision_lora.detectors.load import load_detector
    from vision_lora.evaluation.split import measure_split, open_split
    from vision_lora.system.cores import Threads
    from vision_lora.system.outputs import check_file, write_json

    target = check_file("json", config.json, endings=(".json",), inputs=(config.data, config.model, config.adapter))
    dataset, samples = open_split(config)
    Threads(config.threads)
    detector = load_detector(config.model, config.adapter, config.device)
    imgsz = config.imgsz or detector.imgsz
    result = measure_split(detector, dataset, samples, config)

    table = Table("class", "pictures", "boxes", "mAP50-95", "mAP50", box=None)
    for name, row in result.per_class.items():
        scores = ["-" if score is None else f"{score:.4f}" for score in (row.map50_95, row.map50)]
        table.add_row(name, str(row.images), str(row.boxes), *scores)
    table.add_row("all", str(len(samples)), "", f"{result.map50_95:.4f}", f"{result.map50:.4f}")
    console.print(table)
    console.print(f"{config.split} at {imgsz} px, {detector.base}{f' with {config.adapter}' if config.adapter else ''}")
    for problem in dataset.problems:
        console.print(f"skipped {problem}")
    if target is not None:
        write_json(
            target,
            {
                **result.to_json(),
                "split": config.split,
                "imgsz": imgsz,
                "images": len(samples),
                "base": detector.base,
                "base_fingerprint": detector.fingerprint,
                "adapter": config.adapter,
                "skipped": [str(problem) for problem in dataset.problems],
            },
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(EvaluateConfig, "evaluate", run, argv)


if __name__ == "__main__":
    sys.exit(main())
