"""Class names as they come in from a dataset's file: one rule for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_lora.datasets.sample import Problem, Problems
from vision_lora.errors import DataError
from vision_lora.text.names import twins, unfit

_SOUND = "visible letters on one line"


def class_names(values: Sequence[Any], source: Path, problems: Problems) -> tuple[str, ...]:
    """Class names that everything can take which is written later: adapters, labels, tables, exported files.

    White space around a name is dropped, and told as something mended; inside it stays as it is.

    Args:
        values: texts, or numbers, in the order of the classes.
        source: where they stand.
        problems: takes what is mended.

    Raises:
        DataError: something that is no text, a name with letters that cannot be seen or written, or two names that
            are equal or look so.
    """
    names = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise DataError(f"{source}: class name {str(value)[:60]!r} is no text; expected a name such as scratch")
        name = str(value).strip()
        if reason := unfit(name):
            raise DataError(f"{source}: class name {str(value)[:60]!r} {reason}; expected {_SOUND}: rename it there")
        if name != str(value):
            problems.mended.append(Problem(source, "", f"class name {value!r}", f"{name!r}, without space around it"))
        names.append(name)
    if (pair := twins(names)) is not None:
        one, other = pair
        told = f"{one!r} stands twice" if one == other else f"{one!r} and {other!r} look the same"
        raise DataError(f"{source}: class name {told}; expected each once: rename one")
    return tuple(names)
