"""Teach pretrained object detectors new factory defects with LoRA adapters.

Importing the package is cheap: nothing here loads torch.
"""

import os
from importlib.metadata import PackageNotFoundError, version

# OpenMP threads wait for each other after every layer, by default in a loop that keeps their core busy: beside another
# busy process a training step takes many times as long. Read when torch is loaded; a user's own choice stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")  # Intel's library has its own word for it

try:
    __version__ = version("vision-lora")  # pyproject.toml is the one place that says it
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

# OpenCV, and the FFmpeg in it, print what they think of a file as soon as they are loaded; we say it in our own words.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
