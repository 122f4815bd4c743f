"""Detect in a picture, a folder or a video: annotated copies and JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vision_lora.errors import OutputError
from vision_lora.options.command_line import run_verb
from vision_lora.options.detect import PredictConfig

if TYPE_CHECKING:
    from vision_lora.detectors.base import Detector
    from vision_lora.streaming.files.results import CocoResults
    from vision_lora.streaming.sources.source import FileSource


def run(config: PredictConfig, console: Console) -> None:
    """Detect, write, and print what was found."""
    from vision_lora.detectors.load import load_detector
    from vision_lora.streaming.files.results import CocoResults, legend_file
    from vision_lora.streaming.sources.several import open_sources
    from vision_lora.system.cores import Threads
    from vision_lora.system.outputs import check_file, earlier_results, results_folder

    source = open_sources(config.sources, results=earlier_results(config.out))
    inputs = (*config.sources, config.model, config.adapter, *source.files)
    target = check_file("json", config.json, endings=(".json",), inputs=inputs)
    if target is not None:
        check_file("json", str(legend_file(target)), inputs=inputs)
    Threads(config.threads)
    with results_folder(config.out, exist_ok=config.exist_ok) as out:
        detector = load_detector(config.model, config.adapter, config.device)
        results, ended = CocoResults(source.categories), False
        try:
            _detect(config, detector, source, results, out, console)
            ended = True
        finally:
            if target is not None and not ended and results.images:
                _keep(results, target, console)
        if target is not None:
            results.write(target)


def _keep(results: CocoResults, target: Path, console: Console) -> None:
    """Write what was found until an error, which is told after it."""
    try:
        results.write(target)
        console.print(f"what was found in {len(results.images)} pictures until then: {target}")
    except OutputError as error:
        console.print(str(error))


def _detect(
    config: PredictConfig, detector: Detector, source: FileSource, results: CocoResults, out: Path, console: Console
) -> None:
    """Go through the pictures, collect results, write copies, and print what was found."""
    from vision_lora.streaming.files.detect import detect_as
    from vision_lora.streaming.files.sinks import AnnotatedFolder

    counts, at_limit = Counter[str](), 0
    with closing(AnnotatedFolder(out, source)) as sink:
        for frame, found in detect_as(config, detector, source):
            results.add(frame, found)  # first: the place for copies may end
            sink.write(frame, found)
            counts.update(f"{found.name(i)} ({found.source(i)})" for i in range(len(found)))
            at_limit += found.at_limit
    for name, count in counts.most_common():
        console.print(f"{count:6d}  {name}")
    for line in source.left_out:
        console.print(f"not read: {line}")
    for line in source.problems:
        console.print(f"skipped {line}")
    for line in sink.problems:
        console.print(line)
    if at_limit:
        console.print(
            f"{at_limit} pictures have as many detections as --limit {config.limit} lets through, and maybe more",
        )
    total = sum(counts.values())
    console.print(f"{total} detections in {len(results.images)} pictures; annotated in {out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(PredictConfig, "predict", run, argv)


if __name__ == "__main__":
    sys.exit(main())
