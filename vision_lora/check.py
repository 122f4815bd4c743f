"""Look for flaws in a dataset before they spoil a training run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vision_lora.options.command_line import run_verb
from vision_lora.options.tools import CheckConfig

if TYPE_CHECKING:
    from vision_lora.datasets.checking.check import Report
    from vision_lora.datasets.sample import Dataset
    from vision_lora.detectors.base import Detector

DOUBTED = 0.5  # how far a label is doubted, 0 to 1, from which on it is listed
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def run(config: CheckConfig, console: Console) -> int:
    """Check, report, and write the cleaned copy where one is asked for; or only show what a recipe does.

    Returns:
        0 where nothing would spoil training, 1 where something would.
    """
    # late: torch takes seconds, --help should not
    from vision_lora.datasets import open_dataset
    from vision_lora.datasets.batches.augment import load_recipe
    from vision_lora.datasets.checking.check import check_dataset
    from vision_lora.datasets.checking.fix import write_fixed
    from vision_lora.datasets.checking.preview import preview_sheet, write_preview
    from vision_lora.datasets.checking.report import summary, write_html, write_json
    from vision_lora.system.outputs import check_file, check_new_folder

    dataset = open_dataset(config.data, strict=config.strict).sure()
    inputs = [Path(config.data), *(sample.path for samples in dataset.splits.values() for sample in samples)]
    for option, endings in (("html", (".html", ".htm")), ("json", (".json",)), ("preview", (".png", ".jpg", ".jpeg"))):
        check_file(option, getattr(config, option), endings=endings, inputs=inputs, new_parents=True)
    check_new_folder("fix", config.fix)
    if config.preview is not None:
        samples = dataset.splits.get("train") or next(iter(dataset.splits.values()))
        sheet = preview_sheet(samples, load_recipe(config.augment), imgsz=config.imgsz, seed=config.seed)
        write_preview(sheet, Path(config.preview))
        console.print(f"recipe {config.augment}: {config.preview}")
        return 0
    detector = None if config.adapter is None else _judge(config, dataset)
    report = check_dataset(dataset, imgsz=config.imgsz, seed=config.seed)
    more = [] if detector is None else _doubt_labels(report, detector, config.html)
    _print(report, console)
    if config.html is not None:
        write_html(report, Path(config.html), more)
        console.print(f"page: {config.html}")
    if config.json is not None:
        write_json(report, Path(config.json))
        console.print(f"json: {config.json}")
    if config.fix is not None:
        changes = write_fixed(report, Path(config.fix))
        console.print(f"cleaned copy: {config.fix} ({len(changes)} changes, listed in changes.txt)")
        if lost := sum(row["ignored_regions"] for row in summary(report)):
            console.print(f"{lost} regions to ignore have no place in YOLO labels: they are background in the copy")
    return int(report.failed)


def _judge(config: CheckConfig, dataset: Dataset) -> Detector:
    """The detector that doubts labels; one that knows none of their classes is told before the work."""
    from vision_lora.detectors.load import load_detector
    from vision_lora.evaluation.measure import demand_known, known_classes

    detector = load_detector(config.model, config.adapter, config.device)
    samples = [sample for split in dataset.splits.values() for sample in split]
    demand_known(known_classes(detector, "defects"), dataset.names, samples)
    return detector


def _doubt_labels(report: Report, detector: Detector, html: str | None) -> list[str]:
    """Add what an adapter does not believe to the findings; gives a gallery of it for the page, where there is one."""
    from vision_lora.datasets.checking.check import Finding
    from vision_lora.evaluation.labels import doubted_labels
    from vision_lora.evaluation.report.gallery import STYLE, gallery, in_words

    unreadable = set(report.unreadable)
    samples = [sample for index, sample in enumerate(report.samples) if index not in unreadable]
    outcomes, limits, mistakes = doubted_labels(detector, samples, report.dataset.names, imgsz=detector.imgsz)
    doubted = [one for one in mistakes if one.suspicion >= DOUBTED]
    if not doubted:
        return []
    places = [f"{outcomes.samples[one.picture].path}: {in_words(outcomes, one)}" for one in doubted]
    told = f"the adapter doubts {len(doubted)} labels, or misses them: look at the first of them"
    report.findings.append(Finding("note", "doubted", told, places))
    if html is None:
        return []
    pictures = gallery(outcomes, doubted, Path(html).parent, limits)
    return [f"<style>{STYLE}</style><h2>Labels to look at</h2>", *pictures]


def _print(report: Report, console: Console) -> None:
    from vision_lora.datasets.checking.report import summary

    rows = summary(report)
    table = Table("class", *(f"{row['split']}: pictures / boxes" for row in rows), title=str(report.dataset.source))
    for index, name in enumerate(report.dataset.names):
        table.add_row(name, *(f"{row['pictures_by_class'][index]} / {row['boxes_by_class'][index]}" for row in rows))
    table.add_row("all", *(f"{row['pictures']} / {row['boxes']}" for row in rows), style="bold")
    console.print(table)
    console.print(str(report.dataset.balance), markup=False)
    for item in report.findings:
        console.print(Text(item.severity, _COLOURS[item.severity]), f"{item.kind}: ", end="")
        console.print(item.message)
        for place in item.where[:3]:
            console.print(f"    {place}")
        if len(item.where) > 3:
            console.print(f"    and {len(item.where) - 3} more (--json and --html have them)")
    console.print("training or its score would suffer" if report.failed else "nothing found that would spoil training")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb; the exit code is 0 (sound), 1 (training would suffer) or 2 (a mistake in the call)."""
    return run_verb(CheckConfig, "check", run, argv)


if __name__ == "__main__":
    sys.exit(main())
