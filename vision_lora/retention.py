"""Measure what a detector still knows of its general classes: base, exact, joint and fine-tuned, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vision_lora.options.command_line import run_verb
from vision_lora.options.detect import RetentionConfig


def run(config: RetentionConfig, console: Console) -> None:
    """Measure, print, and leave a table, JSON and a sheet of lost objects for each detector."""
    from vision_lora.datasets.batches.loader import eval_loader
    from vision_lora.datasets.open import open_dataset
    from vision_lora.detectors.load import load_detector
    from vision_lora.errors import DataError
    from vision_lora.evaluation.measure import demand_known
    from vision_lora.evaluation.retention import compare, general_detections, save_lost
    from vision_lora.system.outputs import results_folder, write_json

    dataset = open_dataset(config.data).sure()
    samples = dataset.splits.get(config.split)
    if not samples:
        raise DataError(f"{config.data}: no {config.split} split; there: {', '.join(dataset.splits)}")
    base = load_detector(config.model, None, config.device)
    demand_known(base.names, dataset.names, samples)
    detectors = {}
    if config.adapter is not None:
        detectors["exact"] = load_detector(config.model, config.adapter, config.device)
        if detectors["exact"].adapter is not None and detectors["exact"].adapter.joint:
            detectors["joint"] = detectors["exact"]
    if config.tuned is not None:
        detectors["tuned"] = load_detector(config.tuned, None, config.device)
    with results_folder(config.out, exist_ok=config.exist_ok) as out:
        imgsz = config.imgsz or base.side
        batches = eval_loader(samples, imgsz, config.batch)
        before = general_detections(base, batches, samples, joint=False)

        table = Table("detector", "mAP50-95", "change", "mAP50", "lost", "gained", "same bits", box=None)
        rows = {}
        for name, detector in {"base": base, **detectors}.items():
            after = before if name == "base" else general_detections(detector, batches, samples, joint=name == "joint")
            kept = compare(before, after, samples, dataset.names)
            rows[name] = kept.to_json()
            scores = f"{kept.result.map50_95:.4f}", f"{kept.change:+.4f}", f"{kept.result.map50:.4f}"
            table.add_row(name, *scores, str(len(kept.lost)), str(kept.gained), "yes" if kept.identical else "no")
            if kept.lost:
                save_lost(out / f"lost_{name}.jpg", kept.lost, samples, dataset.names)
        console.print(table)
        console.print(
            f"{config.split} at {imgsz} px, {len(samples)} pictures; lost, gained: objects found at a score of 0.25 "
            "or more by one and not by the other",
        )
        write_json(out / "retention.json", {"split": config.split, "imgsz": imgsz, "base": base.base, "rows": rows})
        console.print(f"results: {out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(RetentionConfig, "retention", run, argv)


if __name__ == "__main__":
    sys.exit(main())
