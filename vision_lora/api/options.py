"""Options from a program, which can give anything where the command line only gives what it could read."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import numpy as np

Made = TypeVar("Made")


def make_options(kind: type[Made], **given: Any) -> Made:
    """Options of a verb, where paths become text, and NumPy's numbers plain ones.

    Args:
        kind: dataclass of options made with `vision_lora.options.option.option`.
        given: what was given, by name.

    Raises:
        ConfigError: a value of the wrong type or out of range.

    Examples:
        >>> from vision_lora.options.detect import PredictConfig
        >>> make_options(PredictConfig, source="a.png", model="starter", confidence=np.float32(0.5)).confidence
        0.5
        >>> make_options(PredictConfig, source="a.png", model="starter", mode="all")
        Traceback (most recent call last):
        vision_lora.errors.ConfigError: --mode all: expected one of general, defects, both
    """
    return kind(**{name: _plain(value) for name, value in given.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value
