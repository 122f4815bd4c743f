"""What comes in over the network is checked in one place, and every mistake is one short line of printable text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from vision_lora.errors import ConfigError
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.incoming import read_change

CHOICE = Choice(None, "both", 0.25)
NO_ADAPTER = b'{"mode": "defects"}'  # wrong where there is none
WRONG = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"mode"',
    b"\xff\xfe",
    b"{" * 3,
    b"[" * 60_000,
    b'{"thresholds":' * 4_000,
    b'{"mode": "both", "mode": "general"}',
    b'{"colour": "red"}',
    json.dumps({"x" * 60_000: 1}).encode(),
    b'{"\\u001b[2J": 1}',
    b'{"adapter": 5}',
    b'{"adapter": ["a"]}',
    b'{"mode": null}',
    b'{"mode": "everything"}',
    b'{"mode": "\\ud800"}',
    NO_ADAPTER,
    b'{"confidence": "0.5"}',
    b'{"confidence": true}',
    b'{"confidence": NaN}',
    b'{"confidence": 1e400}',
    b'{"confidence": -Infinity}',
    b'{"confidence": 0}',
    b'{"confidence": -0.5}',
    b'{"confidence": ' + b"9" * 4000 + b"}",
    b'{"confidence": ' + b"9" * 5000 + b"}",
    b'{"thresholds": [0.5]}',
    b'{"thresholds": {"dent": NaN}}',
    b'{"thresholds": {"dent": true}}',
    b'{"thresholds": {"dent": "0.5"}}',
    b'{"thresholds": {"dent": {"a": 1}}}',
    b'{"thresholds": {"\\ud800": 2}}',
    b'{"thresholds": {"dent": 0.5, "dent": 0.6}}',
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: body[:40].decode("latin-1"))
def test_what_is_wrong_is_refused_in_a_short_line(body: bytes) -> None:
    with pytest.raises(ConfigError) as refused:
        Choice(**{"adapter": None, "mode": "both", "confidence": 0.25, **read_change(body)})
    text = str(refused.value)
    assert len(text) < 300
    assert text.isprintable()


def test_what_is_right_is_taken_as_it_is() -> None:
    wanted: dict[str, Any] = {"adapter": "a", "mode": "defects", "confidence": 1, "thresholds": {"Kratzer ß": 0.5}}
    assert read_change(json.dumps(wanted).encode()) == wanted
    assert read_change(b'{"adapter": null}') == {"adapter": None}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"confidence": math.nan}, "confidence: nan"),
        ({"thresholds": {"a" * 100 + "b": 0.5, "a" * 100 + "c": math.inf}}, "expected a number"),
        ({"thresholds": {5: 0.5}}, "threshold of 5: expected the class's name as text"),
        ({"adapter": []}, "adapter of type list"),
        ({"mode": "all\n"}, r"mode 'all\\n'"),
    ],
)
def test_a_choice_is_checked_wherever_it_comes_from(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Choice(**{"adapter": None, "mode": "both", "confidence": 0.25, **how})
