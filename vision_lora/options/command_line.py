"""From the command line to a verb's options, and from an error to one line."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from argparse import Action
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import NoneType
from typing import Any, Literal, TextIO, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_loader
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from vision_lora.errors import ConfigError, VisionLoraError, reason
from vision_lora.options.help import HelpFormatter, grouped, line, metavar, options, program, usage
from vision_lora.options.option import Options, demand, flag, kinds, one_of
from vision_lora.text.names import shown
from vision_lora.text.plain_yaml import load_plain
from vision_lora.text.redact import redact

Config = TypeVar("Config", bound=Options)

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
        hints: by option what it takes.
    """

    hints: Mapping[str, Any] = {}

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        line = " ".join(message.split())
        if line.startswith("Unexpected config"):
            line = f"--config: {line[:100]}; expected a YAML file of options by name, such as `epochs: 20`"
        told = re.search(r'Parser key "(\w+)":.*(?:Got|Given) value: (.*)$', line)
        if told and (expected := _expected(self.hints.get(told[1]), told[2])):
            line = f"{flag(told[1])} {told[2]}: expected {expected}"
        if wrong := re.search(r"unrecognized arguments: (--[\w-]+)|Option '(\w+)' is not accepted", line):
            given = wrong[1] or flag(wrong[2])
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
    hints = get_type_hints(config)
    parser = _parser(config, verb, hints)
    try:
        given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config: {reason(error)}; expected a YAML file in UTF-8") from None
    values = {item.name: getattr(given, item.name) for item in options(config)}
    for item in options(config):
        if item.metadata["repeated"]:
            _demand_several(item.name, values[item.name], hints[item.name])
    return config(**{name: _switch(name, value) if hints[name] is bool else value for name, value in values.items()})


def _parser(config: type[Options], verb: str, hints: Mapping[str, Any]) -> _Parser:
    """What reads a verb's options, and prints its `--help`."""
    parser = _Parser(
        prog=program(verb),
        usage=usage(config, verb),
        description=config.__doc__,
        formatter_class=HelpFormatter,
        exit_on_error=True,
        parser_mode=_MODE,
        print_config="--print-config",
    )
    parser.hints = hints
    for title, items in grouped(config).items():
        group = parser.add_argument_group(title)
        for item in items:
            hint = hints[item.name]
            told: dict[str, Any] = {"help": line(item), "default": item.default}
            if hint is bool:
                group.add_argument(flag(item.name), action="store_true", **told)
            elif item.metadata["positional"]:
                group.add_argument(item.name, type=hint, nargs="?", metavar=item.name.upper(), **told)
            elif item.metadata["repeated"]:
                group.add_argument(flag(item.name), action=_Several, nargs="+", metavar=metavar(item, hint), **told)
            else:
                group.add_argument(flag(item.name), type=hint, metavar=metavar(item, hint), **told)
    parser.add_argument("--config", action="config", help="YAML file with any of these options; later ones win")
    shown_config = parser._option_string_actions["--print-config"]
    shown_config.help, shown_config.metavar = "show all options as such a file, and end", ""
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    general: Any = parser._optionals
    general.title = "general"
    parser._action_groups = [*(group for group in parser._action_groups if group is not general), general]
    return parser


class _Several(Action):
    """Adds values to those before, as they stand: each may be any text, or a mapping where the option takes those."""

    def __call__(self, parser: Any, namespace: Any, values: Any, _: str | None = None) -> None:
        before, mappings = getattr(namespace, self.dest) or [], _takes_mappings(parser.hints[self.dest])
        new = [_mapping(self.dest, text) if mappings and text.startswith("{") else text for text in values]
        setattr(namespace, self.dest, [*([before] if isinstance(before, str) else before), *new])


def _takes_mappings(hint: Any) -> bool:
    return "dict[" in str(hint)


def _mapping(name: str, text: str) -> Any:
    """A mapping as it would stand in a YAML file; the message repeats nothing of it, as it may hold a password."""
    try:
        return load_plain(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{flag(name)}: a mapping that cannot be read ({getattr(error, 'problem', None)})") from None


def _demand_several(name: str, value: Any, hint: Any) -> None:
    """Check what a config file gives to an option that takes several values: jsonargparse leaves it as it stands."""
    also, words = ((str, dict), "texts or mappings") if _takes_mappings(hint) else ((str,), "texts")
    fits = isinstance(value, (str, NoneType)) or (
        isinstance(value, list) and all(isinstance(one, also) for one in value)
    )
    demand(fits, name, value, f"a text, or a list of {words} (in quotes where one looks like a number)")


class _Version(Action):
    """Says the version, which takes time to find out, only where it is asked for."""

    def __call__(self, parser: Any, *_: Any) -> None:
        from vision_lora import __version__

        print(__version__)  # noqa: T201 - the parser's own, as its help
        parser.exit()


def _switch(name: str, value: Any) -> bool:
    """An option without a value, as a config file may write it: there `yes` and `on` are words like any other."""
    known = yaml.SafeLoader.bool_values.get(str(value).lower())
    demand(known is not None, name, value, "true or false")
    return bool(known)


def _expected(hint: Any, given: str) -> str:
    """What values of a type look like, with None or without, in words; nothing for types that are not named here."""
    told = [
        one_of(get_args(kind), given) if get_origin(kind) is Literal else _KINDS.get(kind, "") for kind in kinds(hint)
    ]
    return " or ".join(told) if all(told) else ""


class _NoPasswords(logging.Filter):
    """Hides what a URL in a message holds of user and password, and what would steer a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = shown(redact(record.getMessage())), ()
        return True


class _PlainConsole(Console):
    """Prints text as text: names of classes and files may hold brackets, colons and control characters."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(shown(text), **how)


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
