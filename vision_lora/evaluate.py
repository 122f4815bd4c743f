"""Measure mAP on a split of a dataset, with or without an adapter; choose thresholds, and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from vision_lora.errors import DataError
from vision_lora.options.command_line import run_verb
from vision_lora.options.detect import EvaluateConfig
from vision_lora.options.threshold import Rule
from vision_lora.pictures.detections import CONFIDENCE

if TYPE_CHECKING:
    from vision_lora.evaluation.assessment import Assessment
    from vision_lora.evaluation.coco_map import MapResult
    from vision_lora.evaluation.scoring.choose import Chosen


def run(config: EvaluateConfig, console: Console) -> None:
    """Measure and print; write JSON and the report, and save thresholds, where asked."""
    from vision_lora.detectors.load import load_detector
    from vision_lora.evaluation.parts.groups import group_pictures
    from vision_lora.evaluation.report.write import check_report, headline, write_report
    from vision_lora.evaluation.split import assess, measure_split, open_split
    from vision_lora.system.cores import Threads
    from vision_lora.system.outputs import check_file, write_json

    target = check_file("json", config.json, endings=(".json",), inputs=(config.data, config.model, config.adapter))
    folder = check_report("report", config.report)
    if config.save:
        check_file("adapter", config.adapter)
    dataset, samples = open_split(config)
    everything = [sample for split in dataset.splits.values() for sample in split]
    groups = group_pictures(config.parts, samples, everything)
    Threads(config.threads)
    detector = load_detector(config.model, config.adapter, config.device)
    imgsz = config.imgsz or detector.imgsz
    result, found = measure_split(detector, dataset, samples, config)
    card = None if detector.adapter is None else detector.adapter.card
    rule = None if config.threshold is None else Rule.parse(config.threshold)
    one, chosen = assess(card, found, samples, result, rule=rule, split=config.split, groups=groups)

    _print(result, len(samples), console)
    measured = f"{config.split} at {imgsz} px, {detector.base}{f' with {config.adapter}' if config.adapter else ''}"
    console.print(measured)
    if rule is not None or folder is not None or config.parts != "picture":
        _print_assessment(one, headline(one), console)
    for problem in dataset.problems:
        console.print(f"skipped {problem}")
    skipped = [str(problem) for problem in dataset.problems]
    if target is not None:
        facts: dict[str, Any] = {
            "split": config.split,
            "imgsz": imgsz,
            "images": len(samples),
            "base": detector.base,
            "base_fingerprint": detector.fingerprint,
            "adapter": config.adapter,
            "skipped": skipped,
        }
        write_json(target, {**result.to_json(), **facts, "assessment": one.to_json()})
    if folder is not None:
        notes = [measured, *(f"skipped {line}" for line in skipped)]
        console.print(f"report: {write_report(one, folder, f'{config.data}: {config.split}', notes)}")
    if rule is not None:
        _conclude(config, chosen, one.rule, console)


def _conclude(config: EvaluateConfig, chosen: Chosen, told: str, console: Console) -> None:
    """Write thresholds onto the adapter's card, where that is asked for; other classes keep theirs.

    Raises:
        DataError: the rule is not reached for a class: nothing is saved.
    """
    from vision_lora.adapters.file import load_adapter, save_card

    card = None if config.adapter is None else load_adapter(config.adapter).card
    before = {} if card is None else card.thresholds
    for name in chosen.absent:
        counts = f"{before.get(name, CONFIDENCE):.3g}"
        console.print(f"no {name} in these pictures: no threshold is chosen for it, {counts} counts")
    if chosen.unreached:
        raise DataError(f"--threshold {config.threshold}: {'; '.join(chosen.unreached)}: ask for less, or train on")
    if config.save and card is not None and config.adapter is not None:
        others = "; others: " + card.rule if before.keys() - chosen.thresholds.keys() else ""
        rule = f"{told} for {', '.join(chosen.thresholds)}{others}" if others else told
        save_card(replace(card, thresholds={**before, **chosen.thresholds}, rule=rule), Path(config.adapter))
        console.print(f"thresholds saved: {config.adapter}")


def _print(result: MapResult, pictures: int, console: Console) -> None:
    table = Table("class", "pictures", "boxes", "mAP50-95", "mAP50", box=None)
    for name, row in result.per_class.items():
        scores = ["-" if score is None else f"{score:.4f}" for score in (row.map50_95, row.map50)]
        table.add_row(name, str(row.images), str(row.boxes), *scores)
    table.add_row("all", str(pictures), "", f"{result.map50_95:.4f}", f"{result.map50:.4f}")
    console.print(table)


def _print_assessment(one: Assessment, headline: str, console: Console) -> None:
    table = Table("class", "threshold", "precision", "recall", "F1", "missed", "false alarms", box=None)
    for row in one.rows:
        numbers = [f"{value:.3f}" for value in (row.threshold, row.precision, row.recall, row.f1)]
        table.add_row(row.name, *numbers, str(row.boxes - row.found), str(row.wrong))
    console.print(table)
    console.print(headline)
    for line in one.parts.doubts():
        console.print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(EvaluateConfig, "evaluate", run, argv)


if __name__ == "__main__":
    sys.exit(main())
