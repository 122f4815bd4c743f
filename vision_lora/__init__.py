"""Teach pretrained object detectors new factory defects with LoRA adapters.

The names below are all that a program needs; docs/python.md shows them at work. Each is loaded where it is first used:
importing the package loads neither torch nor anything else that takes time.
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision_lora.api.detector import Detector
    from vision_lora.api.results import Detection, Result, Results
    from vision_lora.api.training import Trained, fit
    from vision_lora.errors import VisionLoraError
    from vision_lora.evaluation.coco_map import MapResult

    __version__: str

_HOMES = {
    "Detection": "vision_lora.api.results",
    "Detector": "vision_lora.api.detector",
    "MapResult": "vision_lora.evaluation.coco_map",
    "Result": "vision_lora.api.results",
    "Results": "vision_lora.api.results",
    "Trained": "vision_lora.api.training",
    "VisionLoraError": "vision_lora.errors",
    "fit": "vision_lora.api.training",
}
__all__ = [
    "Detection",
    "Detector",
    "MapResult",
    "Result",
    "Results",
    "Trained",
    "VisionLoraError",
    "__version__",
    "fit",
]

# OpenCV, and the FFmpeg in it, print what they think of a file as soon as they are loaded; we say it in our own words.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def __getattr__(name: str) -> object:
    """A public name, loaded when it is first asked for (PEP 562)."""
    if name == "__version__":
        value: object = _version()
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """What pyproject.toml, the one place that says it, said when the package was installed."""
    from importlib.metadata import PackageNotFoundError, version  # takes longer than all else here

    try:
        return version("vision-lora")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
