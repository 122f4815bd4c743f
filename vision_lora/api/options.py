"""Options from a program, which can give anything where the command line only gives what it could read."""

from __future__ import annotations

import os
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from vision_lora.options.option import demand, one_of

Made = TypeVar("Made")

_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", NoneType: "None"}


def make_options(kind: type[Made], **given: Any) -> Made:
    """Options of a verb, with each value checked to be of its type; paths become text, NumPy's numbers plain ones.

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
    hints = get_type_hints(kind)
    help_texts = {item.name: item.metadata.get("help") for item in fields(kind)}  # type: ignore[arg-type]
    values = {name: _plain(value) for name, value in given.items()}
    for name, value in values.items():
        if help_texts[name]:  # an option, not something that only a program gives
            kinds = get_args(hints[name]) if get_origin(hints[name]) in (Union, UnionType) else (hints[name],)
            fits = any(_is(value, one) for one in kinds)
            demand(fits, name, value, " or ".join(_told(one, value) for one in kinds if one is not NoneType))
    return kind(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as Python's type checkers have it: a whole number is a number, a truth is none."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):
        return kind is bool
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is(one, *get_args(kind)) for one in value)
    return isinstance(value, (int, float) if kind is float else kind)


def _told(kind: Any, value: Any) -> str:
    if get_origin(kind) is Literal:
        return one_of(get_args(kind), value)
    return _WORDS.get(kind, str(kind))
