"""What a class can be called, which names look alike, and how text from outside is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_lora.text.names import LONGEST, legible, near, pick, same, shown, strange, suggestion, told, twins, unfit

# What people write: Japanese and no-break spaces, Hindi and Persian joiners, marks of direction, emoji, mathematics.
SOUND = [
    "キズ\u3000大",
    "deep\u00a0scratch",
    "क्\u200dष",
    "می\u200cخواهم",  # noqa: RUF001
    "שריטה\u200f!",
    "⚠️",
    "𠮷",
    "$5",
    "a_b$x$",
    "[/m]",
    "no",
    "null",
    "010",
    "=1+1",
    "a,b",
    "%s {0}",
    "ǆ" * LONGEST,
]
UNSOUND = {
    "": "is empty",
    " \u3000\u00a0": "is empty",
    "a\tb": r"holds U\+0009",
    "a\nb": r"holds U\+000A",
    "a\x1b[2Jb": r"holds U\+001B",
    "a\x85b": r"holds U\+0085",
    "a\u2028b": r"holds U\+2028 LINE SEPARATOR",
    "a\u200bb": r"holds U\+200B ZERO WIDTH SPACE",
    "\ufeffa": r"holds U\+FEFF",
    "a\u202eb": r"holds U\+202E RIGHT-TO-LEFT OVERRIDE",
    "a\u00adb": r"holds U\+00AD SOFT HYPHEN",
    "a\ud800b": r"holds U\+D800",
    "a\uffffb": r"holds U\+FFFF",
    "a" * (LONGEST + 1): f"has {LONGEST + 1} letters",
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_names(name: str) -> None:
    assert unfit(name) == ""
    assert (legible(name), shown(name)) == (name, name)


@pytest.mark.parametrize(("name", "reason"), UNSOUND.items(), ids=map(ascii, UNSOUND.values()))
def test_unsound_names(name: str, reason: str) -> None:
    assert unfit(name).startswith(reason.replace("\\", ""))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deep scratch", "deep\u00a0scratch"),
        ("キズ 大", "キズ\u3000大"),
        ("crépi", "cre\u0301pi"),  # composed and decomposed, as macOS writes it
        ("क्ष", "क्\u200dष"),
        ("dent", "dent\u200f"),
        ("deep  scratch", "deep scratch"),
    ],
)
def test_twins_are_names_that_nobody_can_tell_apart(one: str, other: str) -> None:
    assert twins(["pit", one, other]) == (one, other)
    assert twins([one, one.upper(), f"{one}2"]) in (None, (one, one.upper()))  # writing without capitals has none


def test_near_names() -> None:
    known = ["scratch", "deep_dent", "rolled-in scale", "Öl"]
    meant = {"Scratch": 0, "scrach": 0, "Deep Dent": 1, "deepdent": 1, "rolled_in_scale": 2, "o\u0308l": 3}
    assert [near(name, known) for name in meant] == [known[place] for place in meant.values()]
    assert near("weld", known) is None
    assert (same("DEEP-DENT", known), same("deep_dents", known)) == ("deep_dent", None)
    assert suggestion("weld", known) == "'weld'"
    assert told(list("abcdefg"), known).endswith("'e' and 2 more")


def test_lists_by_comma_know_names_with_commas() -> None:
    known = ["dent", "stain, dark", "a,b", "a"]
    assert pick("dent,stain, dark", known) == ["dent", "stain, dark"]
    assert pick("a,b,dent", known) == ["a,b", "dent"]
    assert pick("a, dent", known) == ["a", "dent"]
    assert pick("dent,rust", known) == ["dent", "rust"]


@given(st.text())
def test_what_is_shown_cannot_steer_a_terminal(text: str) -> None:
    assert not strange(shown(text).replace("\n", "").replace("\t", ""))
    shown(text).encode()  # no half of a letter is left
    assert unfit(legible(text)) == "" or not text.strip() or len(text) > LONGEST
