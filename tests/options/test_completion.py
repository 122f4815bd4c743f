"""Completion in a real shell: verbs, options and words, without Python at each press of a key."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vision_lora.__main__ import VERBS, main
from vision_lora.options.completion import OPTIONS, SHELLS, script

BASH = shutil.which("bash")

# Each line on standard input is a command line, whose last word is completed; what bash offers is printed as one line.
ASK = """
source "$1"
offer=$(complete -p vision-lora | sed -E 's/.*-F ([^ ]+).*/\\1/')
while IFS= read -r line; do
    eval "COMP_WORDS=($line)"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
    "$offer" vision-lora "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}"
done
"""

LINES = {
    "vision-lora tr": ["train"],
    "vision-lora e": ["evaluate", "export"],
    "vision-lora --ver": ["--version"],
    "vision-lora --completion z": ["zsh"],
    "vision-lora train --ra": ["--rank"],
    "vision-lora train --joint --ba": ["--balanced", "--batch"],
    "vision-lora train --variant lora": ["lora", "lora-fa"],
    "vision-lora train --rank ''": [],
    "vision-lora train --workers a": ["auto"],
    "vision-lora predict --mode d": ["defects"],
    "vision-lora predict --source a.png b": ["b.png"],
    "vision-lora predict --source a.png --conf": ["--confidence", "--config"],
    "vision-lora camera --source a.png --min": ["--min-frames"],
    "vision-lora inspect b": ["b.png"],
    "vision-lora models --placement d": ["deep"],
}


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_verbs_options_words_and_files_complete_in_bash(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "completion").write_text(script("bash"))
    asked = subprocess.run(
        [str(BASH), "--norc", "--noprofile", "-c", ASK, "bash", "completion"],
        input="\n".join(LINES) + "\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},  # no Python of ours: completing needs none
    )
    assert asked.stderr == ""
    told = {line: sorted(offered.split()) for line, offered in zip(LINES, asked.stdout.splitlines(), strict=True)}
    assert told == LINES


def test_every_verb_is_known() -> None:
    assert tuple(OPTIONS) == VERBS


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", shell]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip("\n") == script(shell).rstrip("\n")
    assert {"bash": "complete -o", "zsh": "#compdef vision-lora"}[shell] in printed


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_reads_its_script(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(script("zsh"))
    subprocess.run(["zsh", "-n", str(tmp_path / "completion")], check=True)


@pytest.mark.parametrize("words", [["fish"], [], ["bash", "zsh"]])
def test_another_shell_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"vision-lora: --completion {' '.join(words) or '(nothing)'}: expected one of bash, zsh")
    assert told.count("\n") == 1


def test_the_script_is_made_without_what_takes_time() -> None:
    code = "import sys, json; from vision_lora.__main__ import main; main(['--completion', 'bash']); print(); "
    code += "print(json.dumps([name for name in ('torch', 'cv2', 'jsonargparse', 'rich') if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
