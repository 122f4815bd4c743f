"""How options read in `--help`, and which words complete them in a shell: told from their dataclass alone."""

from __future__ import annotations

import argparse
from copy import copy
from dataclasses import Field, fields
from typing import Any, Literal, get_args, get_origin

from vision_lora.options.option import GROUPS, Options, flag, kinds

WIDTH, COLUMN = 100, 30
PROGRAM = "vision-lora"


class HelpFormatter(argparse.HelpFormatter):
    """Lines of at most 100 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=COLUMN, width=WIDTH)

    def add_argument(self, action: argparse.Action) -> None:
        """Add an option, without jsonargparse's second name for one that takes several values."""
        shown = copy(action)
        shown.option_strings = [name for name in action.option_strings if not name.endswith("+")]
        super().add_argument(shown)


def program(verb: str) -> str:
    """What is typed to get a verb; modules that are none are run by Python.

    Examples:
        >>> program("train"), program("benchmarks.camera")
        ('vision-lora train', 'python -m vision_lora.benchmarks.camera')
    """
    return f"python -m vision_lora.{verb}" if "." in verb else f"{PROGRAM} {verb}"


def usage(config: type[Options], verb: str) -> str:
    """What has to be typed: all options together would fill the screen."""
    needed = [item for item in options(config) if item.metadata["required"]]
    words = [
        item.name.upper() if item.metadata["positional"] else f"{flag(item.name)} {item.name.upper()}"
        for item in needed
    ]
    return " ".join((program(verb), *words, "[options]"))


def grouped(config: type[Options]) -> dict[str, list[Field[Any]]]:
    """A verb's options by heading, both in the order of `--help`: what has to be given comes first."""
    each = sorted(options(config), key=lambda item: not item.metadata["required"])
    groups = {group: [item for item in each if item.metadata["group"] == group] for group in GROUPS}
    return {group: items for group, items in groups.items() if items}


def options(config: type[Options]) -> list[Field[Any]]:
    """What can be given on the command line, in a YAML file, or from Python."""
    return [item for item in fields(config) if "help" in item.metadata]  # type: ignore[arg-type]


def line(item: Field[Any]) -> str:
    """An option's text with its range and its default, for argparse, to which `%` is a sign of its own."""
    limits, default = item.metadata["limits"], item.default
    told = ["required"] if item.metadata["required"] else []
    told += [str(limits)] if limits is not None else []
    if default is not None and default is not False and default != "":
        told.append(f"default: {default:g}" if isinstance(default, float) else f"default: {default}")
    text = f"{item.metadata['help']} ({'; '.join(told)})" if told else item.metadata["help"]
    return str(text).replace("%", "%%")


def metavar(item: Field[Any], hint: Any) -> str:
    """What stands for an option's value: `N` for a whole number, `X` for any, `{a,b}` for words to choose from."""
    words = [*choices(hint), *(sign for kind, sign in ((int, "N"), (float, "X")) if kind in kinds(hint))]
    if choices(hint):
        return f"{{{','.join(words)}}}"
    return words[0] if words else item.name.upper()


def choices(hint: Any) -> tuple[str, ...]:
    """The words that a type takes; none where it takes any."""
    return tuple(word for kind in kinds(hint) if get_origin(kind) is Literal for word in get_args(kind))
