"""From the command line to a verb's options, and from an error to one line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_loader
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from vision_lora.errors import ConfigError, VisionLoraError
from vision_lora.names import shown
from vision_lora.options import demand
from vision_lora.plain_yaml import load_plain
from vision_lora.streaming.address import redact

Config = TypeVar("Config")

_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text (in quotes where it looks like a number)",
}
_MODE = "plain"


def _load(text: str) -> Any:
    """A config file, or the value of an option that is more than text."""
    try:
        value = load_plain(text)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise yaml.YAMLError(f"{line}{error.problem}") from None
    # YAML reads `a:` and `{a}` as tables of nothing; as values they are text.
    return text if isinstance(value, dict) and not any(item is not None for item in value.values()) else value


set_loader(_MODE, _load, (yaml.YAMLError,))


class _Parser(ArgumentParser):
    """Raises instead of printing usage: a verb prints one line.

    Attributes:
        expected: by option what it takes, in words.
    """

    expected: Mapping[str, str] = {}

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        line = " ".join(message.split())
        told = re.search(r'Parser key "(\w+)":.*(?:Got|Given) value: (.*)$', line)
        if told and told[1] in self.expected:
            line = f"--{told[1].replace('_', '-')} {told[2]}: expected {self.expected[told[1]]}"
        raise ConfigError(line)

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except ConfigError as error:
            raise ConfigError(f"--config {cfg_path}: {error}") from None


def parse(config: type[Config], verb: str, argv: Sequence[str] | None = None) -> Config:
    """Read a verb's options from the command line and from `--config FILE`, in the order given.

    Args:
        config: dataclass of options made with `vision_lora.options.option`.
        verb: name of the verb, for `--help`.
        argv: the words; by default what the shell gave.

    Raises:
        ConfigError: an unknown option or key, a value of the wrong type or out of range.
    """
    parser = _Parser(
        prog=f"python -m vision_lora.{verb}", description=config.__doc__, exit_on_error=True, parser_mode=_MODE
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options; later ones win")
    hints = get_type_hints(config)
    parser.expected = {name: text for name, hint in hints.items() if (text := _expected(hint))}
    repeated = set[str]()
    for item in fields(config):  # type: ignore[arg-type]
        flag = "--" + item.name.replace("_", "-")
        text = item.metadata["help"]
        if hints[item.name] is bool:
            parser.add_argument(flag, action="store_true", help=text)
        elif item.metadata["positional"]:
            parser.add_argument(item.name, type=hints[item.name], nargs="?", default=item.default, help=text)
        else:
            if item.metadata["repeated"]:
                repeated.add(flag)
            parser.add_argument(flag, type=hints[item.name], default=item.default, help=text)
    given = parser.parse_args(_appending(sys.argv[1:] if argv is None else argv, repeated))
    values = {item.name: getattr(given, item.name) for item in fields(config)}  # type: ignore[arg-type]
    return config(**{name: _switch(name, value) if hints[name] is bool else value for name, value in values.items()})


def _switch(name: str, value: Any) -> bool:
    """An option without a value, as a config file may write it: there `yes` and `on` are words like any other."""
    known = yaml.SafeLoader.bool_values.get(str(value).lower())
    demand(known is not None, name, value, "true or false")
    return bool(known)


def _expected(hint: Any) -> str:
    """What values of a type look like, with None or without, in words; nothing for types that are not named here."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if hint in _KINDS:
        return _KINDS[hint]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return _expected(kinds[0]) if len(kinds) == 1 and type(None) in get_args(hint) else ""


class _NoPasswords(logging.Filter):
    """Hides what a URL in a message holds of user and password, and what would steer a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = shown(redact(record.getMessage())), ()
        return True


class _PlainConsole(Console):
    """Prints text as text: names of classes and files may hold brackets, colons and control characters."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(shown(text), **how)


def _appending(words: Sequence[str], repeated: set[str]) -> list[str]:
    """The words with jsonargparse's sign for "one more" behind each option that may be given several times."""
    return [
        flag + "+" + mark + value if flag in repeated else word
        for word in words
        for flag, mark, value in [word.partition("=")]
    ]


def run_verb(
    config: type[Config], verb: str, run: Callable[[Config, Console], int | None], argv: Sequence[str] | None = None
) -> int:
    """Parse, run, and turn every mistake of the user into one line on stderr.

    Returns:
        0 when done, 2 after a mistake of the user, 130 after Ctrl-C; or what `run` gives.
    """
    errors = make_console(stderr=True)
    handler = RichHandler(console=errors, show_time=False, show_path=False, markup=False)
    handler.addFilter(_NoPasswords())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    try:
        return run(parse(config, verb, argv), make_console()) or 0
    except VisionLoraError as error:
        errors.print(f"error: {redact(' '.join(str(error).split()))}")
        return 2
    except KeyboardInterrupt as interrupt:
        errors.print(f"interrupted{': ' if str(interrupt) else ''}{interrupt}")
        return 130


def make_console(*, stderr: bool = False) -> Console:
    """Where a verb prints: text, never markup; what is to be styled is a `rich.text.Text`.

    Animated on a terminal only, whatever FORCE_COLOR says, as a notebook keeps each frame.
    """
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return _PlainConsole(
        stderr=stderr,
        soft_wrap=True,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=None if terminal else False,
    )


def as_dict(config: Any) -> dict[str, Any]:
    """Options by name, for a run's record."""
    return {item.name: getattr(config, item.name) for item in fields(config)}
