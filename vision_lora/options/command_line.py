"""From the command line to a verb's options, and from an error to one line."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, TextIO, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_loader
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from vision_lora.errors import ConfigError, VisionLoraError, reason
from vision_lora.options.option import demand
from vision_lora.text.names import shown
from vision_lora.text.plain_yaml import load_plain
from vision_lora.text.redact import redact

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
        if line.startswith("Unexpected config"):
            line = f"--config: {line[:100]}; expected a YAML file of options by name, such as `epochs: 20`"
        told = re.search(r'Parser key "(\w+)":.*(?:Got|Given) value: (.*)$', line)
        if told and told[1] in self.expected:
            line = f"--{told[1].replace('_', '-')} {told[2]}: expected {self.expected[told[1]]}"
        if wrong := re.search(r"unrecognized arguments: (--[\w-]+)|Option '(\w+)' is not accepted", line):
            given = wrong[1] or f"--{wrong[2].replace('_', '-')}"
            near = difflib.get_close_matches(given, self._option_string_actions, 1)
            line += f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(line)

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except ConfigError as error:
            raise ConfigError(f"--config {cfg_path}: {error}") from None


def parse(config: type[Config], verb: str, argv: Sequence[str] | None = None) -> Config:
    """Read a verb's options from the command line and from `--config FILE`, in the order given.

    Args:
        config: dataclass of options made with `vision_lora.options.option.option`.
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
    try:
        given = parser.parse_args(_appending(sys.argv[1:] if argv is None else argv, repeated))
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config: {reason(error)}; expected a YAML file in UTF-8") from None
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
    if get_origin(hint) not in (Union, UnionType):
        return ""
    kinds = [_expected(kind) for kind in get_args(hint) if kind is not type(None)]
    return " or ".join(kinds) if all(kinds) else ""


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
    console, errors = make_console(), make_console(stderr=True)
    handler = RichHandler(console=errors, show_time=False, show_path=False, markup=False)
    handler.addFilter(_NoPasswords())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    try:
        code = run(parse(config, verb, argv), console) or 0
    except VisionLoraError as error:
        errors.print(f"error: {redact(' '.join(str(error).split()))}")
        code = 2
    except KeyboardInterrupt as interrupt:
        errors.print(f"interrupted{': ' if str(interrupt) else ''}{interrupt}")
        code = 130
    except _outside() as error:
        errors.print(f"error: {redact(_told(error))}")
        code = 2
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # torch's on a CPU, of no class of its own
            raise
        errors.print(f"error: {redact(_told(error))}")
        code = 2
    finally:
        console.file.flush()
    if code == 0 and (lost := cast(_Stream, console.file).lost) is not None:
        errors.print(f"error: stdout: {reason(lost)}; the work was done, but not all of it was printed")
        return 2
    return code


class _Stream:
    """stdout or stderr, that never ends the work: what cannot be written is dropped, what cannot be encoded escaped.

    Args:
        name: `stdout` or `stderr`.

    Attributes:
        lost: why it could not be written, once that has happened.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write what the stream's encoding has characters for; bytes of file names that are none are replaced."""
        if (stream := self._open()) is not None:
            encoding = stream.encoding or "utf-8"
            sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            with self._guard():
                stream.write(sound.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what waits."""
        if (stream := self._open()) is not None:
            with self._guard():
                stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return (stream := self._open()) is not None and stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(sys, self._name), name)

    def _open(self) -> TextIO | None:
        """What it stands for now; None where it is closed, or could not be written."""
        stream: TextIO | None = getattr(sys, self._name)
        return None if stream is None or stream.closed or self.lost is not None else stream

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = error
            # What waits in the stream would be tried again, and fail again, when the process ends.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), getattr(sys, self._name).fileno())


def _outside() -> tuple[type[Exception], ...]:
    """Errors of the world outside: disks, names, memory. Those of torch and safetensors only where these are loaded."""
    known = [("torch", "OutOfMemoryError"), ("safetensors", "SafetensorError")]
    loaded = [getattr(sys.modules[module], name) for module, name in known if module in sys.modules]
    return (OSError, UnicodeError, MemoryError, *loaded)


def _told(error: Exception) -> str:
    """An error from outside in one line."""
    if isinstance(error, OSError):
        name = error.filename
        return f"{os.fsdecode(name)}: {reason(error)}" if isinstance(name, (str, bytes)) else reason(error)
    if isinstance(error, UnicodeError):
        return f"text that is not in the expected encoding: {reason(error)}"
    if type(error).__name__ == "SafetensorError":
        return f"safetensors: {reason(error)}"
    return f"out of memory ({reason(error)[:200]}); a smaller --batch or --imgsz takes less"


def make_console(*, stderr: bool = False) -> Console:
    """Where a verb prints: text, never markup; what is to be styled is a `rich.text.Text`.

    Animated on a terminal only, whatever FORCE_COLOR says, as a notebook keeps each frame.
    """
    stream = _Stream("stderr" if stderr else "stdout")
    return _PlainConsole(
        file=cast(TextIO, stream),
        soft_wrap=True,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=None if stream.isatty() else False,
    )


def as_dict(config: Any) -> dict[str, Any]:
    """Options by name, for a run's record."""
    return {item.name: getattr(config, item.name) for item in fields(config)}
