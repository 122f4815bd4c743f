"""What measuring a camera needs: a video of a line, the same video as a live feed, a service at work."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_detector
from vision_lora.errors import VisionLoraError
from vision_lora.options.camera import CameraConfig
from vision_lora.rendering.video import write_video
from vision_lora.streaming.service import Service
from vision_lora.streaming.settings import read_sources
from vision_lora.system.signals import Stop


def video_of(path: str | None, folder: Path, frames: int) -> Path:
    """The video at a path, or one that is drawn into a folder: a strip of metal with defects on a conveyor."""
    return write_video(folder, frames=frames) if path is None else Path(path)


def bare_detector(config: CameraConfig) -> Detector:
    """The detector of a configuration without adapters: a service attaches them itself."""
    detector = load_detector(config.model, config.adapter, config.device)
    if detector.adapters.active is not None:
        detector.adapters.detach(detector.adapters.active)
    return detector


@contextmanager
def live_feed(video: Path, fps: float) -> Iterator[str]:
    """The URL of a video that is played by a process of its own, as by a camera."""
    words = ["--video", str(video), "--fps", str(fps), "--port", "0"]
    command = [sys.executable, "-m", "vision_lora.benchmarks.playback", *words]
    player = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - a program of ours
    try:
        assert player.stdout is not None
        line = player.stdout.readline()
        if "http://" not in line:
            raise VisionLoraError(f"{video}: cannot be played")
        yield line.rstrip().rpartition(" ")[2]
    finally:
        player.terminate()
        player.wait()
        assert player.stdout is not None
        player.stdout.close()


@contextmanager
def at_work(config: CameraConfig, sources: list[Any], detector: Detector) -> Iterator[Service]:
    """A service that watches, in a thread; it is stopped at the end, and what went wrong in it is raised."""
    config = replace(config, source=sources)
    service, stop, errors = Service(config, read_sources(config), detector), Stop(), list[BaseException]()

    def run() -> None:
        try:
            service.run(stop)
        except VisionLoraError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join()
        for name in list(detector.adapters.adapters):
            detector.adapters.detach(name)
    if errors:
        raise errors[0]


def wait_for_results(service: Service, source: str, count: int, seconds: float = 60.0) -> None:
    """Wait until so many pictures of a source have been detected.

    Raises:
        VisionLoraError: that takes too long.
    """
    deadline = time.monotonic() + seconds
    while service.stats[source].read().detected < count:
        if time.monotonic() > deadline:
            raise VisionLoraError(f"{source}: fewer than {count} pictures within {seconds:g} s")
        time.sleep(0.02)


def machine() -> dict[str, Any]:
    """What was measured on, for the record."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": list(os.getloadavg()),
    }
