"""YAML whose words are words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from vision_lora.text.plain_yaml import load_plain

WORDS = ["no", "yes", "on", "Off", "010", "0x1F", "0o17", "0b1", "1:30", "1_000", "2026-01-02", "08", "1.2.3", "y", "="]
VALUES: dict[str, Any] = {
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "0": 0,
    "-12": -12,
    "+5": 5,
    "0.5": 0.5,
    ".5": 0.5,
    "5.": 5.0,
    "1e-3": 0.001,
    "-1.5E+3": -1500.0,
    ".inf": math.inf,
    "'7'": "7",
}


@pytest.mark.parametrize("word", WORDS)
def test_words_stay_words_as_values_items_and_keys(word: str) -> None:
    assert load_plain(f"a: {word}\nb: [{word}]\n{word}: 1\n") == {"a": word, "b": [word], word: 1}


@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_values(text: str, value: Any) -> None:
    assert load_plain(f"a: {text}") == {"a": value}


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice", 3),
        ("a:\n- {b: 1, 'b': 2}\n", "the key 'b' stands twice", 2),
        ("0: x\n'0': y\n", "the key '0' stands twice", 2),
        ("? [1]\n: 2\n", "a key that is no text", 1),
        ("a: &a {b: *a}\n", "stands in what it names", 1),
    ],
)
def test_what_means_two_things_is_refused(text: str, message: str, line: int) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        load_plain(text)
    assert message in str(caught.value.problem)
    assert caught.value.problem_mark is not None
    assert caught.value.problem_mark.line + 1 == line


def test_a_merge_may_be_overridden() -> None:
    assert load_plain("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n")["y"] == {"a": 1, "b": 3}
