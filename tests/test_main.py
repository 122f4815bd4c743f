"""The program in front of the verbs."""

import subprocess
import sys
from pathlib import Path

import pytest

from vision_lora import __main__ as program
from vision_lora import __version__


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package folder with two of the verbs."""
    (tmp_path / "__init__.py").write_text('"""Teaches.\n\nMore."""\n')
    (tmp_path / "train.py").write_text(
        '"""Adapt a detector.\n\nMore."""\nraise AssertionError("imported for --help")\n'
    )
    (tmp_path / "check.py").write_text('"""Look at a dataset."""\ndef main(argv): return len(argv)\n')
    (tmp_path / "errors.py").write_text('"""No verb."""\n')
    monkeypatch.setattr(program, "__file__", str(tmp_path / "__main__.py"))
    monkeypatch.setattr("vision_lora.__path__", [str(tmp_path)])
    for verb in program.VERBS:
        monkeypatch.delitem(sys.modules, f"vision_lora.{verb}", raising=False)


@pytest.mark.usefixtures("verbs")
def test_help_lists_the_verbs_that_are_there_without_importing_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "train      Adapt a detector.\n" in printed
    assert "check      Look at a dataset.\n" in printed
    assert "export" not in printed
    assert "errors" not in printed


@pytest.mark.usefixtures("verbs")
def test_verb_gets_its_options_and_gives_the_exit_code() -> None:
    assert program.main(["check", "--data", "a.yaml"]) == 2
    assert program.main(["check"]) == 0


@pytest.mark.usefixtures("verbs")
def test_unknown_verb_is_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["trian"]) == 2
    assert capsys.readouterr().err == "vision-lora: no verb 'trian'; did you mean 'train'? there are: train, check\n"


@pytest.mark.usefixtures("verbs")
def test_a_verb_that_is_like_no_other_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["xyz"]) == 2
    assert capsys.readouterr().err == "vision-lora: no verb 'xyz'; there are: train, check\n"


def test_no_verb_prints_the_usage_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: vision-lora VERB")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_does_not_load_torch() -> None:
    code = "import sys; from vision_lora.__main__ import main; main(['--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
