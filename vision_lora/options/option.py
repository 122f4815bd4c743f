"""What an option is: a field of a dataclass with its line of help, its group and its range, and the checks on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, field, fields
from typing import Any, Literal, get_args

from vision_lora.errors import ConfigError
from vision_lora.options.limits import Limits
from vision_lora.text.names import near

# The headings of `--help`, in their order.
Group = Literal[
    "most used", "what", "adapter", "recipe", "detection", "alarms", "connection", "page", "speed", "output"
]
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
        for item in fields(self):  # type: ignore[arg-type]
            if "help" in item.metadata:  # else it is something that only a program gives
                _check(item, getattr(self, item.name))


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
