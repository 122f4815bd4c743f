"""Detect in a picture, a folder or a video: annotated copies and JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from vision_lora.cli import run_verb
from vision_lora.config import PredictConfig


def run(config: PredictConfig, console: Console) -> None:
    """Detect, write, and print what was found."""
    from vision_lora.detectors.load import load_detector
    from vision_lora.detectors.readout import Readout
    from vision_lora.devices import use_threads
    from vision_lora.outputs import check_file, new_folder, write_json
    from vision_lora.streaming.predict import detect_frames
    from vision_lora.streaming.sinks import AnnotatedFolder, coco_results
    from vision_lora.streaming.source import open_files

    target = check_file("json", config.json)
    source = open_files(config.source)
    use_threads(config.threads)
    detector = load_detector(config.model, config.adapter, config.device)
    imgsz = config.imgsz or detector.imgsz
    out = new_folder(config.out, exist_ok=config.exist_ok)
    sink, results, counts, frames = AnnotatedFolder(out), [], Counter[str](), 0
    try:
        for frame, found in detect_frames(
            detector,
            source,
            imgsz=imgsz,
            batch=config.batch,
            mode=config.mode,
            readout=Readout(confidence=config.confidence, iou=config.iou),
            tile=config.tile,
            overlap=config.overlap,
        ):
            sink.write(frame, found)
            results += coco_results(frame, found)
            counts.update(f"{found.name(i)} ({found.source(i)})" for i in range(len(found)))
            frames += 1
    finally:
        sink.close()
    for name, count in counts.most_common():
        console.print(f"{count:6d}  {name}", markup=False)
    for problem in source.problems:
        console.print(f"skipped {problem}", markup=False)
    console.print(f"{sum(counts.values())} detections in {frames} pictures; annotated in {out}", markup=False)
    if target is not None:
        write_json(target, results)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(PredictConfig, "predict", run, argv)


if __name__ == "__main__":
    sys.exit(main())
