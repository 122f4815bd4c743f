"""What tests of outputs and sources share."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Writing fails, for OpenCV and FFmpeg as well, where a file would grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def picture(path: Path, size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Path:
    """Noise, written in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, format="JPEG" if path.suffix == ".jfif" else None)
    return path


def video(path: Path, frames: int = 4, size: tuple[int, int] = (64, 48), fps: int = 10, codec: str = "mjpeg") -> Path:
    """A video of PyAV's, whose frames grow brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, av.open(file, "w", format=path.suffix.replace("mkv", "matroska")[1:]) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(frames):
            grey = np.full((size[1], size[0], 3), 20 + 20 * index % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return path
