"""Pictures decoded once at training size, and shared by every worker process."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.pictures.images import letterbox


class PictureCache:
    """Letterboxed pictures of a list of samples, in shared memory or, beyond the budget, in a memory-mapped file.

    Both survive being sent to a worker process of any start method without being copied. The file lies in the system's
    temporary folder (`TMPDIR`) and goes with the process that made it.

    Args:
        samples: whose pictures to decode.
        imgsz: side of the squares in pixels.
        budget_gib: most memory to use for pictures; a larger set goes to the file.
        shared: bytes of shared memory that it may take; by default what is free.

    Attributes:
        pictures: (n, imgsz, imgsz, 3) uint8 RGB.
        scales: new pixels per old pixel, (n,) float32.
        pads: padding left and above in pixels, (n, 2) float32.
        errors: why a picture could not be decoded, by index; its square is left grey.
    """

    def __init__(self, samples: Sequence[Sample], imgsz: int, *, budget_gib: float, shared: int | None = None) -> None:
        shape = (len(samples), imgsz, imgsz, 3)
        size = math.prod(shape)
        self._file: str | None = None
        if size <= budget_gib * 2**30 and size < (free_shared_memory() if shared is None else shared):
            self.pictures = torch.empty(shape, dtype=torch.uint8).share_memory_()
        else:
            self._file = _temporary_file(self, size)
            self.pictures = _mapped(self._file, shape)
        self.scales = torch.zeros(len(samples))
        self.pads = torch.zeros(len(samples), 2)
        self.errors: dict[int, str] = {}
        target: NDArray[np.uint8] = self.pictures.numpy()

        def decode(index: int) -> None:
            try:
                picture = samples[index].read()
            except DataError as error:
                self.errors[index] = str(error)
                return
            target[index], self.scales[index], pad = letterbox(picture, imgsz)
            self.pads[index] = torch.tensor(pad)

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for _ in pool.map(decode, range(len(samples))):
                pass

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process is sent: shared memory goes as a handle, a file by its name."""
        return self.__dict__ | ({"pictures": self.pictures.shape} if self._file else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._file:
            self.pictures = _mapped(self._file, state["pictures"])


def free_shared_memory() -> int:
    """Bytes that shared memory still takes: containers often allow 64 MiB, and writing beyond it kills the process."""
    folder = Path("/dev/shm")  # noqa: S108 (where Linux keeps shared memory; other systems have no such limit)
    return shutil.disk_usage(folder).free * 9 // 10 if folder.is_dir() else 2**63


def _temporary_file(owner: object, size: int) -> str:
    """Name of a new temporary file with room for `size` bytes, removed with `owner`."""
    handle, name = tempfile.mkstemp(prefix="vision_lora_", suffix=".pictures")
    weakref.finalize(owner, Path(name).unlink, missing_ok=True)
    os.close(handle)
    free = shutil.disk_usage(Path(name).parent).free
    if size > free:
        raise DataError(
            f"{Path(name).parent}: {free / 2**30:.1f} GiB free; the pictures at training size need "
            f"{size / 2**30:.1f} GiB: set TMPDIR to a larger disk or train at a smaller size"
        )
    return name


def _mapped(name: str, shape: Sequence[int]) -> Tensor:
    """A shared tensor over a file."""
    return torch.from_file(name, shared=True, size=math.prod(shape), dtype=torch.uint8).view(*shape)
