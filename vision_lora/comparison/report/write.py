"""The report of a comparison: Markdown with pictures beside it, CSV, JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_lora.comparison.report import tables
from vision_lora.comparison.report.advice import advice
from vision_lora.comparison.report.html import page
from vision_lora.comparison.report.plots import draw
from vision_lora.comparison.report.result import Result
from vision_lora.comparison.report.sections import Advice, Command, Figures, Heading, Lines, Note, parts
from vision_lora.system.outputs import write_json, write_text, write_whole
from vision_lora.text.markup import Strong, code_in_markdown, in_markdown

CAPTIONS = {
    "accuracy_parameters": "Accuracy against trained parameters",
    "accuracy_pictures": "Accuracy against training pictures",
    "learning_curves": "Learning curves",
    "retention": "What is left of the base's own classes",
    "frontier": "New classes against old ones",
}


def write_report(result: Result, folder: Path) -> dict[str, Path]:
    """Write everything that a comparison found.

    Args:
        result: from `collect`.
        folder: for `compare.md` with its plots, `compare.html` in one file, `compare.csv`, `compare.json`.

    Returns:
        The files, by ending.
    """
    files = {ending: folder / f"compare.{ending}" for ending in ("md", "html", "csv", "json")}
    write_json(files["json"], {**result.to_json(), "advice": advice(result)})
    figures = draw(result)
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=130)
        write_whole(folder / f"{name}.png", buffer.getvalue())
    write_text(files["md"], "\n\n".join(_markdown(result, figures)) + "\n")
    write_text(files["html"], page(result, figures, CAPTIONS))
    _write_csv(result, files["csv"])
    return files


def _markdown(result: Result, figures: Iterable[str]) -> Iterator[str]:
    yield in_markdown(f"# Methods compared: {result.title}")
    for part in parts(result):
        if isinstance(part, Heading):
            yield in_markdown(f"## {part.text}")
        elif isinstance(part, Advice):
            yield in_markdown(Strong(part.text))
        elif isinstance(part, Command):
            yield code_in_markdown(part.text)
        elif isinstance(part, Note):
            yield in_markdown(part.text)
        elif isinstance(part, Lines):
            yield "\n".join(f"- {in_markdown(line)}" for line in part.lines)
        elif isinstance(part, Figures):
            yield from (f"![{CAPTIONS[name]}]({name}.png)" for name in figures)
        else:
            yield tables.markdown(part)


def _write_csv(result: Result, path: Path) -> None:
    """One line a run, with its method's cost and each class's mAP50-95."""
    with io.StringIO(newline="") as file:
        writer = csv.writer(file)
        head = ["method", "training_set", "images", "lr", "seed", "map50_95", "map50", "val_map50_95", "best_epoch"]
        head += ["trainable_parameters", "bytes", "seconds_per_step", "images_per_second", "peak_memory_mib"]
        head += ["wall_seconds", "kept_map50_95", *(f"map50_95 {name}" for name in result.facts["names"])]
        writer.writerow(head)
        for row in result.rows:
            for run in row.runs:
                scores = [run.map50_95, run.map50, run.val_map50_95, run.best_epoch]
                cost = [row.trainable_parameters, row.bytes, row.seconds_per_step, row.images_per_second]
                known = [row.method, row.shots, row.images, row.lr, run.seed, *scores, *cost, row.peak_memory_mib]
                by_class = [run.per_class[name][0] for name in result.facts["names"]]
                writer.writerow([*known, run.wall_seconds, row.kept, *by_class])
        write_text(path, file.getvalue())
