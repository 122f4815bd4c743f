"""Teach pretrained object detectors new factory defects with LoRA adapters.

Importing the package is cheap: nothing here loads torch.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vision-lora")  # pyproject.toml is the one place that says it
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
