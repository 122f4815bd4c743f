"""`--help` is read by people: options under headings, those that matter first, what may be given and what is taken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import Field
from typing import Any

import pytest

from tests.options.every import classes, kinds, options
from vision_lora import __version__
from vision_lora.__main__ import VERBS
from vision_lora.errors import ConfigError
from vision_lora.options.camera import CameraConfig
from vision_lora.options.command_line import parse
from vision_lora.options.completion import OPTIONS
from vision_lora.options.detect import PredictConfig
from vision_lora.options.option import GROUPS, Options
from vision_lora.options.tools import InspectConfig
from vision_lora.options.train import TrainConfig


def shown(config: type[Options], verb: str, capsys: pytest.CaptureFixture[str], word: str = "--help") -> str:
    with pytest.raises(SystemExit) as ended:
        parse(config, verb, [word])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("config", classes(), ids=lambda config: config.__name__)
def test_every_help_is_narrow_and_speaks_no_python(config: type[Options], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(config, "verb", capsys)
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"Literal|Union|Optional|type:|null|None|<class|\+ ", text)
    for item in options(config):
        assert _entry(text, item), item.name


def _entry(text: str, item: Field[Any]) -> str:
    """What stands behind an option's name, with the lines that go on."""
    name = item.name.upper() if item.metadata["positional"] else "--" + item.name.replace("_", "-")
    found = re.search(rf"^  {name}(?![\w-])(.*(?:\n   .*)*)", text, re.MULTILINE)
    return " ".join(found[1].split()) or "-" if found else ""


@pytest.mark.parametrize("config", classes(), ids=lambda config: config.__name__)
def test_ranges_defaults_and_words_are_shown(config: type[Options], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(config, "verb", capsys)
    for item in options(config):
        entry = _entry(text, item)
        assert ("(required" in entry) or not item.metadata["required"]
        if (limits := item.metadata["limits"]) is not None:
            assert str(limits) in entry
        if isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
            assert f"default: {item.default:g})" in entry
        words = [str(word) for kind in kinds(config, item.name) for word in getattr(kind, "__args__", [kind])]
        if isinstance(item.default, str) and item.default in words:
            assert f"default: {item.default})" in entry


def test_the_ten_that_matter_come_first_in_train(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(TrainConfig, "train", capsys)
    headings = re.findall(r"^([a-z ]+):$", text, re.MULTILINE)
    assert headings == [*(group for group in GROUPS if f"\n{group}:\n" in text), "general"]
    assert headings[:2] == ["most used", "what"]
    first = text.partition("most used:\n")[2].partition("\n\n")[0]
    names = re.findall(r"^  --(\S+)", first, re.MULTILINE)
    assert names == ["data", "model", "classes", "epochs", "imgsz", "batch", "rank", "joint", "device", "out"]
    assert "--variant {lora,rslora,dora,lora-fa,ssf}" in text
    assert "--workers {auto,N}" in text


def test_what_has_to_be_given_stands_in_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(PredictConfig, "predict", capsys).startswith("usage: vision-lora predict --source SOURCE [options]\n")
    assert shown(InspectConfig, "inspect", capsys).startswith("usage: vision-lora inspect FILE [options]\n")
    text = shown(CameraConfig, "benchmarks.camera", capsys)
    assert text.startswith("usage: python -m vision_lora.benchmarks.camera --source SOURCE [options]\n")
    assert "--source SOURCE [SOURCE ...]\n" in text


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_says_the_version(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(OPTIONS[verb], verb, capsys, "--version") == f"{__version__}\n"


@pytest.mark.parametrize(
    ("config", "words", "told"),
    [
        (TrainConfig, ["--variant", "lorra"], "expected one of lora, rslora, dora, lora-fa, ssf; did you mean lora?"),
        (TrainConfig, ["--start", "Quiet"], "expected one of quiet, random; did you mean quiet?"),
        (TrainConfig, ["--variant", "adapter"], "expected one of lora, rslora, dora, lora-fa, ssf"),
        (PredictConfig, ["--mode", "defect"], "expected one of general, defects, both; did you mean defects?"),
    ],
)
def test_a_mistyped_word_is_told_with_the_one_that_was_meant(
    config: type[Options], words: list[str], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(config, "verb", words)
    assert str(caught.value) == f"{' '.join(words)}: {told}"


def test_no_verb_loads_torch_for_its_help() -> None:
    code = "import importlib, json, sys; "
    code += f"[importlib.import_module('vision_lora.' + verb) for verb in {VERBS!r}]; "
    code += "print(json.dumps([name for name in ('torch', 'cv2', 'PIL', 'ultralytics') if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
