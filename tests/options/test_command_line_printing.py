"""What verbs print: as it is, whatever the terminal can show, and nothing that steers it."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vision_lora.errors import DataError
from vision_lora.options.command_line import make_console, run_verb
from vision_lora.options.train import TrainConfig


def test_nothing_is_animated_or_coloured_but_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks set FORCE_COLOR, and would keep each frame of a progress bar."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    def run(config: TrainConfig, console: Console) -> None:
        assert not console.is_terminal
        with console.status("at work"):
            console.print(Text("done", "bold"))
        raise DataError("no names")

    assert run_verb(TrainConfig, "train", run, ["--data", "steel.yaml"]) == 2
    assert capsys.readouterr() == ("done\n", "error: no names\n")


def printing(stream: object, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """The exit code of a verb that prints to a stream, and what it did after that."""
    did = list[str]()

    def run(config: TrainConfig, console: Console) -> None:
        console.print("Kratzer \udcfc, 划痕")
        did.append("worked")

    monkeypatch.setattr("sys.stdout", stream)
    code = run_verb(TrainConfig, "train", run, ["--data", "d"])
    return code, did


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "Kratzer \\udcfc, 划痕\n"),
        ("ascii", "Kratzer \\udcfc, \\u5212\\u75d5\n"),
        ("cp1252", "Kratzer \\udcfc, \\u5212\\u75d5\n"),
    ],
)
def test_what_a_terminal_has_no_letters_for_is_escaped(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    assert printing(io.TextIOWrapper(raw, encoding=encoding, errors="strict"), monkeypatch) == (0, ["worked"])
    assert raw.getvalue().decode(encoding) == shown


class _Failing(io.StringIO):
    """As a pipe that nobody reads any more, or a file on a full disk."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [(BrokenPipeError(32, "Broken pipe"), "Broken pipe"), (OSError(28, "No space left"), "No space left")],
)
def test_a_closed_pipe_ends_the_printing_not_the_work(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printing(_Failing(error), monkeypatch) == (2, ["worked"])
    assert capsys.readouterr().err == f"error: stdout: {words}; the work was done, but not all of it was printed\n"


def test_without_stdout_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printing(None, monkeypatch) == (0, ["worked"])
    closed = io.StringIO()
    closed.close()
    assert printing(closed, monkeypatch) == (0, ["worked"])


NAMES = ["scratch [deep]", "[/m] stain", ":warning:", "[bold]x[/]", "$5", "[link=file:///etc]y", "a\\[b]"]


def test_names_and_files_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines, in tables, in errors and in the log; none is markup, none an emoji."""

    def run(config: TrainConfig, console: Console) -> None:
        console.print(", ".join(NAMES))
        table = Table("class", title=NAMES[0], box=None)
        for name in NAMES:
            table.add_row(name)
        console.print(table)
        logging.getLogger("vision_lora.test").warning("%s", NAMES[1])
        raise DataError(" ".join(NAMES))

    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    root.handlers.clear()
    try:
        assert run_verb(TrainConfig, "train", run, ["--data", "steel.yaml"]) == 2
    finally:
        root.handlers[:] = before
    out, err = capsys.readouterr()
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == ", ".join(NAMES)
    assert lines[-len(NAMES) :] == NAMES
    assert lines[1] == NAMES[0]
    assert NAMES[1] in err
    assert f"error: {' '.join(NAMES)}" in err


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x07b", "a\rb", "a\x9bb", "a\u202eb", "a\udcffb"])
def test_nothing_that_is_printed_steers_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    console.print(text)
    table = Table("file", box=None)
    table.add_row(text)
    console.print(table)
    out = capsys.readouterr().out
    written = text.encode("unicode_escape").decode()
    assert out.count(written) == 2
    assert text not in out
