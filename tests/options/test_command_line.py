"""Options: one source for the command line, YAML and help; every mistake is one line and exit code 2."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError

from vision_lora.errors import ConfigError, DataError
from vision_lora.options.command_line import make_console, parse, run_verb
from vision_lora.options.detect import EvaluateConfig, PredictConfig
from vision_lora.options.train import TrainConfig
from vision_lora.system.outputs import check_file, new_folder, write_json


def test_options_come_from_the_command_line_and_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: steel.yaml\nepochs: 7\nexist_ok: true\nlr: 0.01\n")
    config = parse(TrainConfig, "train", ["--config", str(file), "--epochs", "9", "--weight-decay", "0"])
    assert (config.data, config.epochs, config.exist_ok, config.lr, config.weight_decay) == (
        "steel.yaml",
        9,
        True,
        0.01,
        0,
    )
    assert config.batch == TrainConfig(data="x").batch


def test_an_adapter_learns_faster_than_the_networks_weights() -> None:
    rates = {method: TrainConfig(data="x", method=method).peak_lr for method in ("lora", "full", "freeze", "head")}
    assert rates == {"lora": 0.004, "full": 0.001, "freeze": 0.001, "head": 0.001}
    assert TrainConfig(data="x", lr=0.01).peak_lr == 0.01


def test_a_joint_pass_learns_more_slowly_its_factor_a_above_all() -> None:
    exact, joint = TrainConfig(data="x"), TrainConfig(data="x", joint=True)
    assert (joint.peak_lr, joint.peak_lr / joint.b_by_a) == (exact.peak_lr / 2, exact.peak_lr / exact.b_by_a / 4)
    assert TrainConfig(data="x", method="full", joint=True).peak_lr == TrainConfig(data="x", method="full").peak_lr
    assert TrainConfig(data="x", joint=True, lora_plus=1).b_by_a == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "d", "--bogus", "1"], "bogus"),
        (["--data", "d", "--epochs", "many"], "--epochs many: expected a whole number"),
        (["--data", "d", "--epochs", "1.5"], "--epochs 1.5: expected a whole number"),
        (["--data", "d", "--lora-plus", "0"], "--lora-plus 0.0: expected more than 0"),
        (["--data", "d", "--lr", "0"], "--lr 0.0: expected more than 0"),
        (["--data", "d", "--lora-plus", "x"], "--lora-plus x: expected a number"),
        (["--data", "d", "--alpha", "x"], "--alpha x: expected a number"),
        (["--data", "d", "--method", "magic"], "--method magic: expected one of lora, full, freeze, head"),
        (["--data", "d", "--placement", "tail"], "--placement tail: expected one of all, deep, neck, head"),
        (["--data", "d", "--method", "full", "--start", "quiet"], "--start quiet: expected --method lora"),
        (["--data", "d", "--on", "a", "--start", "quiet"], "--start quiet: expected no --on"),
        (["--data", "d", "--variant", "ssf", "--start", "random"], "--start random: expected no --variant ssf"),
        (["--data", "d", "--rank", "0"], "--rank 0: expected 1 or more"),
        (["--data", "d", "--imgsz", "300"], "--imgsz 300: expected a multiple of 32"),
        (["--data", "d", "--lr", "-1"], "--lr -1.0: expected more than 0"),
        (["--data", "d", "--ema", "1"], "--ema 1.0: expected 0 or more, less than 1"),
        ([], r"--data \(nothing\): expected the path of a dataset"),
    ],
)
def test_mistakes_in_options(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(TrainConfig, "train", words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--epocs", "3"], "unrecognized arguments: --epocs 3; did you mean --epochs?"),
        (["--wieght-decay=0"], "unrecognized arguments: --wieght-decay=0; did you mean --weight-decay?"),
        (["--config", "epoch: 3\n"], "Option 'epoch' is not accepted; did you mean --epochs?"),
        (["--config", "exist_okay: true\n"], "Option 'exist_okay' is not accepted; did you mean --exist-ok?"),
        (["--quux", "3"], "unrecognized arguments: --quux 3"),
    ],
)
def test_a_mistyped_option_is_told_with_the_one_that_was_meant(words: list[str], told: str, tmp_path: Path) -> None:
    if words[0] == "--config":
        (tmp_path / "recipe.yaml").write_text(words[1])
        words = ["--config", str(tmp_path / "recipe.yaml")]
    with pytest.raises(ConfigError) as caught:
        parse(TrainConfig, "train", ["--data", "d", *words])
    assert str(caught.value).endswith(told)


def test_unknown_keys_in_yaml_are_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: d\nepoch: 7\n")
    with pytest.raises(ConfigError, match="epoch"):
        parse(TrainConfig, "train", ["--config", str(file)])
    with pytest.raises(ConfigError, match="gone"):
        parse(TrainConfig, "train", ["--config", str(tmp_path / "gone.yaml")])


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (EvaluateConfig, ["--data", "d"], "--model"),
        (PredictConfig, ["--source", "s", "--model", "m", "--mode", "defects"], "--mode defects: expected --adapter"),
        (PredictConfig, ["--model", "m"], "--source"),
        (PredictConfig, ["--source", "s", "--model", "m", "--confidence", "2"], "--confidence 2.0: expected 0 to 1"),
    ],
)
def test_mistakes_in_other_verbs(config: type, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(config, "verb", words)


def test_a_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: TrainConfig, console: object) -> None:
        raise DataError("steel.yaml:\nno names")

    assert run_verb(TrainConfig, "train", run, ["--data", "steel.yaml"]) == 2
    assert capsys.readouterr().err == "error: steel.yaml: no names\n"
    assert run_verb(TrainConfig, "train", run, ["--wrong"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_interrupting_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: TrainConfig, console: object) -> None:
        raise KeyboardInterrupt("last weights are in x")

    assert run_verb(TrainConfig, "train", run, ["--data", "d"]) == 130
    assert capsys.readouterr().err == "interrupted: last weights are in x\n"


def test_folders_are_never_overwritten(tmp_path: Path) -> None:
    out = str(tmp_path / "runs" / "train")
    assert [new_folder(out, exist_ok=False).name for _ in range(3)] == ["train", "train-2", "train-3"]
    assert new_folder(out, exist_ok=True).name == "train"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot create the folder"):
        new_folder(str(tmp_path / "file" / "below"), exist_ok=False)


def test_files_are_checked_before_the_work_and_written_whole(tmp_path: Path) -> None:
    assert check_file("json", None) is None
    for wrong in (tmp_path, tmp_path / "gone" / "a.json"):
        with pytest.raises(ConfigError, match="expected a file in a folder that exists"):
            check_file("json", str(wrong))
    target = check_file("json", str(tmp_path / "a.json"))
    assert target is not None
    write_json(target, {"a": 1})
    assert target.read_text() == '{\n "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [target]


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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/runs/a.pt"), "/runs/a.pt: No space left on device"),
        (PermissionError(13, "Permission denied", b"/runs/\xfc"), "/runs/\\udcfc: Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (FileNotFoundError(2, "No such file or directory", 3), "No such file or directory"),
        (UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "invalid start byte"), "text that is not in the expected encoding"),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "out of memory (CUDA out of memory. Tried)"),
        (SafetensorError("Error while deserializing header"), "safetensors: Error while deserializing header"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
    ],
)
def test_errors_of_the_world_outside_are_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: TrainConfig, console: Console) -> None:
        raise error

    assert run_verb(TrainConfig, "train", run, ["--data", "d"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {line}")
    assert told.count("\n") == 1


def test_our_own_errors_keep_their_traceback() -> None:
    def run(config: TrainConfig, console: Console) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        run_verb(TrainConfig, "train", run, ["--data", "d"])


@pytest.mark.parametrize("content", [b"out: K\xfc\n", b"no options", b""])
def test_a_config_that_is_none_is_one_line(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    assert run_verb(TrainConfig, "train", lambda *_: None, ["--config", str(tmp_path / "a.yaml"), "--data", "d"]) == 2
    assert capsys.readouterr().err.startswith("error: --config")


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: a\nepochs: 2\ndata: b\n", "recipe.yaml: Problems parsing config: line 3: the key 'data' stands twice"),
        ("data: a\njoint: maybe\n", "--joint maybe: expected true or false"),
        ("data: a\nclasses: 10\n", "--classes 10: expected text (in quotes where it looks like a number)"),
        ("data: a\nepochs: 2026-01-02\n", "recipe.yaml: --epochs 2026-01-02: expected a whole number"),
        ("data: [a\n", "line 2: expected ',' or ']'"),
    ],
)
def test_mistakes_in_yaml_are_one_line_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse(TrainConfig, "train", ["--config", str(tmp_path / "recipe.yaml")])
    assert "\n" not in str(caught.value)


def test_words_in_yaml_are_words(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: 010\nclasses: no\nout: 2026-01-02\njoint: yes\nbalanced: off\nlr: 1e-3\n")
    config = parse(TrainConfig, "train", ["--config", str(file)])
    assert (config.data, config.classes, config.out) == ("010", "no", "2026-01-02")
    assert (config.joint, config.balanced, config.lr) == (True, False, 0.001)
