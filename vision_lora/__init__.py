"""Teach pretrained object detectors new factory defects with LoRA adapters.

Importing the package is cheap: nothing here loads torch.
"""

import os
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vision-lora")  # pyproject.toml is the one place that says it
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

# OpenCV, and the FFmpeg in it, print what they think of a file as soon as they are loaded; we say it in our own words.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
