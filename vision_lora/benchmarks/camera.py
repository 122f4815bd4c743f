"""What the camera costs beside its detector: frames a second of a file, and latency of a live feed.

`python -m vision_lora.benchmarks.camera --model yolo11n.pt --json data/results/camera/bench.json`
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vision_lora.adapters.file import load_adapter
from vision_lora.benchmarks.rehearsal import at_work, bare_detector, live_feed, machine, video_of, wait_for_results
from vision_lora.detectors.base import Detector
from vision_lora.detectors.readout import Readout
from vision_lora.options import common
from vision_lora.options.camera import CameraConfig
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.pictures.detections import CONFIDENCE
from vision_lora.streaming.sources.source import open_files
from vision_lora.system.outputs import check_file, write_json

SOURCE = "line"


@dataclass(frozen=True)
class BenchConfig(Options):
    """Measure the camera: its frames a second by those of the bare detector, and latency at a given pace."""

    model: str | None = option(None, "base detector: path or official name; default: the base that the adapter names")
    adapter: str | None = option(None, "adapter file; without it the base alone is used")
    imgsz: int | None = common.side(None, "side of the square pictures; default: the adapter's, or the base's")
    video: str | None = option(None, "video to watch; default: a drawn one, 640 x 360 pixels")
    frames: int = option(120, "pictures of a turn", at_least=10)
    turns: int = option(5, "turns; in each, the bare detector and the camera see the same pictures", at_least=1)
    fps: float = option(10.0, "pictures a second of the live feed", more_than=0, at_most=1000)
    seconds: float = option(60.0, "for which the live feed is watched", more_than=0, unit="seconds")
    json: str | None = option(None, "file for the result as JSON")


def run(config: BenchConfig, console: Console) -> None:
    """Measure, print, write JSON where asked."""
    target = check_file("json", config.json, endings=(".json",))
    with tempfile.TemporaryDirectory() as folder:
        video = video_of(config.video, Path(folder), config.frames)
        options = CameraConfig(
            source=[str(video)],
            model=config.model,
            adapter=config.adapter,
            mode="both",  # the longer way
            imgsz=config.imgsz,
            events=str(Path(folder) / "events.jsonl"),
        )
        detector = bare_detector(options)
        overhead = measure_overhead(options, detector, video, config.turns)
        console.print(
            f"camera {overhead['camera_fps']:.1f} frames/s, bare detector {overhead['detector_fps']:.1f}: "
            f"ratio {overhead['ratio']:.3f} (median of {config.turns} turns)"
        )
        latency = measure_latency(options, detector, video, config.fps, config.seconds)
        console.print(
            f"at {config.fps:g} frames/s: latency p50 {latency['p50_ms']:.1f}, p95 {latency['p95_ms']:.1f}, p99 "
            f"{latency['p99_ms']:.1f} ms; one inference {latency['inference_ms']:.1f} ms, so the bar is "
            f"{latency['bar_ms']:.1f} ms; dropped: {latency['dropped']}"
        )
    if target is not None:
        result = {"config": asdict(config), "machine": machine(), "overhead": overhead, "latency": latency}
        write_json(target, result)


def measure_overhead(options: CameraConfig, detector: Detector, video: Path, turns: int) -> dict[str, Any]:
    """Frames a second of the camera on a video, and of the bare detector on its decoded frames, turn by turn."""
    pictures = [frame.picture for frame in open_files(str(video))]
    ratios, bare, camera = [], [], []
    for turn in range(turns):
        # Every second turn begins with the other one, so that a machine that gets slower favours neither.
        for kind in ("bare", "camera") if turn % 2 == 0 else ("camera", "bare"):
            if kind == "bare":
                bare.append(_bare_fps(options, detector, pictures))
            else:
                camera.append(_camera_fps(options, detector, video, len(pictures), turn))
        ratios.append(camera[-1] / bare[-1])
    return {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "camera_fps": statistics.median(camera),
        "detector_fps": statistics.median(bare),
    }


def measure_latency(
    options: CameraConfig, detector: Detector, video: Path, fps: float, seconds: float
) -> dict[str, Any]:
    """Latency from capture to result of a live feed, beside the time of one inference on its pictures."""
    pictures = [frame.picture for frame in open_files(str(video))][:60]
    inference = 1 / _bare_fps(options, detector, pictures)
    with live_feed(video, fps) as url, at_work(options, [{"url": url, "name": SOURCE}], detector) as service:
        wait_for_results(service, SOURCE, round(2 * fps))
        before = service.stats[SOURCE].read()
        time.sleep(seconds)
        after = service.stats[SOURCE].read()
    p50, p95, p99 = (value * 1000 for value in after.latency)
    return {
        "fps": fps,
        "pictures": after.detected - before.detected,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "inference_ms": inference * 1000,
        "bar_ms": 1.5 * inference * 1000 + 20,
        "dropped": sum(after.dropped.values()) - sum(before.dropped.values()),
    }


def _bare_fps(options: CameraConfig, detector: Detector, pictures: Sequence[NDArray[np.uint8]]) -> float:
    """The detector alone, one decoded picture after the other."""
    if options.adapter is not None:
        detector.attach(load_adapter(options.adapter), "bare")
    imgsz = options.imgsz or detector.imgsz
    readout = Readout(confidence=(options.confidence or CONFIDENCE) / 2, iou=options.iou)

    def detect_all() -> float:
        for picture in pictures[:5]:
            detector.predict([picture], imgsz, mode=options.mode, readout=readout)
        began = time.monotonic()
        for picture in pictures:
            detector.predict([picture], imgsz, mode=options.mode, readout=readout)
        return len(pictures) / (time.monotonic() - began)

    # In a thread of its own, as in the camera: OpenMP's threads belong to the thread that asks for work.
    with ThreadPoolExecutor(1) as thread:
        fps = thread.submit(detect_all).result()
    if options.adapter is not None:
        detector.adapters.detach("bare")
    return fps


def _camera_fps(options: CameraConfig, detector: Detector, video: Path, frames: int, turn: int) -> float:
    """The camera on the video: decoding, detecting, tracking, rules, events; from the first result to the last."""
    assert options.events is not None
    own = replace(options, events=str(Path(options.events).with_name(f"events-of-turn-{turn}.jsonl")))
    with at_work(own, [{"url": str(video), "name": SOURCE}], detector) as service:
        wait_for_results(service, SOURCE, 1)
        began = time.monotonic()
        wait_for_results(service, SOURCE, frames, seconds=600)
        return (frames - 1) / (time.monotonic() - began)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(BenchConfig, "benchmarks.camera", run, argv)


if __name__ == "__main__":
    sys.exit(main())
