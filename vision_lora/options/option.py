"""What an option is: a field of a dataclass with its line of help, its group and its range, and the checks on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vision_lora.errors import ConfigError
from vision_lora.options.limits import Limits
from vision_lora.text.names import near

# The headings of `--help`, in their order.
Group = Literal[
    "most used", "what", "adapter", "recipe", "detection", "alarms", "connection", "page", "speed", "output"
]
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
GROUPS: tuple[Group, ...] = get_args(Group)


def option(
    default: Any,
    text: str,
    group: Group = "what",
    *,
    required: str = "",
    positional: bool = False,
    repeated: bool = False,
    unlimited: str = "",
    **limits: Any,
) -> Any:
    """A field with its default and its line in `--help`, which names the unit where there is one.

    Args:
        default: its value where it is not given.
        text: its line, without default and range, which `--help` adds.
        group: the heading that `--help` lists it under.
        required: what is expected, where it has to be given.
        positional: whether it is given without its name.
        repeated: whether it takes several values, and may be given several times, for a list.
        unlimited: why a number has no range here.
        limits: which numbers it takes, see `Limits`.
    """
    told = {"help": text, "group": group, "required": required, "positional": positional, "repeated": repeated}
    return field(
        default=default, metadata={**told, "unlimited": unlimited, "limits": Limits(**limits) if limits else None}
    )


def flag(name: str) -> str:
    """How an option is written on the command line."""
    return f"--{name.replace('_', '-')}"


def demand(condition: object, name: str, value: object, expected: str) -> None:
    """Raise a ConfigError that names the option, what was given and what was expected."""
    if not condition:
        raise ConfigError(f"{flag(name)} {value}: expected {expected}")


def one_of(words: Sequence[str], given: object) -> str:
    """What an option with words to choose from expects, with the one that was probably meant.

    Examples:
        >>> one_of(["lora", "dora"], "Lora"), one_of(["lora", "dora"], 3)
        ('one of lora, dora; did you mean lora?', 'one of lora, dora')
    """
    meant = near(str(given), words)
    return f"one of {', '.join(words)}{f'; did you mean {meant}?' if meant else ''}"


class Options:
    """Checks what each option says of itself; a verb's own `__post_init__` adds rules across options."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):  # type: ignore[arg-type]
            if "help" in item.metadata:  # else it is something that only a program gives
                value = getattr(self, item.name)
                _check(item, value)
                fits, expected = _fit(value, hints[item.name])
                demand(fits, item.name, value, expected)


def kinds(hint: Any) -> tuple[Any, ...]:
    """The kinds of value that a type takes, but for None."""
    union = get_origin(hint) in (Union, UnionType)
    return tuple(kind for kind in (get_args(hint) if union else (hint,)) if kind is not NoneType)


def _fit(value: Any, hint: Any) -> tuple[bool, str]:
    """Whether a value is of a type, and what would be, in words."""
    if value is None and (hint is NoneType or NoneType in get_args(hint)):
        return True, ""
    allowed = kinds(hint)
    if any(get_origin(kind) is dict for kind in allowed):  # read by whoever takes it, with words of its own
        return True, ""
    told = (
        one_of(get_args(kind), value) if get_origin(kind) is Literal else _WORDS.get(kind, str(kind))
        for kind in allowed
    )
    fits = any(_is(value, kind) for kind in allowed)
    return fits, "" if fits else " or ".join(told)  # looking for what was meant takes time


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, as Python's type checkers have it: a whole number is a number, a truth is none."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):
        return kind is bool
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fit(one, get_args(kind)[0])[0] for one in value)
    return isinstance(value, (int, float) if kind is float else get_origin(kind) or kind)


def _check(item: Field[Any], value: Any) -> None:
    limits, required = item.metadata["limits"], item.metadata["required"]
    each = value if isinstance(value, list) else [value]
    for text in each:
        demand(not isinstance(text, str) or "\0" not in text, item.name, text, "no NUL in it")
    if limits is not None and isinstance(value, (int, float)):
        demand(limits.hold(value), item.name, value, str(limits))
    if required and item.metadata["positional"] and not value:
        raise ConfigError(f"no {item.name} given; expected {required}")
    demand(not required or (each and all(each)), item.name, "(nothing)", required)
