"""The card: one that can be made can be written and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters import build
from tests.text.test_names import SOUND, UNSOUND
from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.errors import AdapterError


@pytest.mark.parametrize("name", SOUND)
def test_a_class_of_any_sound_name_is_read_again(name: str, tmp_path: Path) -> None:
    adapter = build.adapter(build.network())
    card = replace(adapter.card, names=(name, "b", "c"), base=f"{name.replace('/', '-')}.pt")
    save_adapter(Adapter(adapter.deltas, card), tmp_path / "a.safetensors")
    assert load_adapter(tmp_path / "a.safetensors").card == card


@pytest.mark.parametrize(("name", "reason"), UNSOUND.items(), ids=map(ascii, UNSOUND.values()))
def test_what_could_not_be_read_again_is_on_no_card(name: str, reason: str) -> None:
    card = build.adapter(build.network()).card
    with pytest.raises(AdapterError, match=reason):
        replace(card, names=("a", name, "c"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base": "a\nb.pt"}, "holds U.000A: rename it"),
        ({"base": "caf\udce9.pt"}, "holds U.DCE9: rename it"),
        ({"base": "a\\b.pt"}, "a file name without folders"),
        ({"imgsz": 100}, "in steps of 32"),
        ({"alpha": 0.0}, "a number above 0"),
        ({"names": ()}, "expected at least one"),
        ({"names": ("a", "a", "b")}, "each once"),
    ],
)
def test_a_card_holds_only_what_a_file_can(changed: dict[str, object], message: str) -> None:
    """So that a base with a strange file name is refused before the training, and not when its adapter is opened."""
    with pytest.raises(AdapterError, match=message):
        replace(build.adapter(build.network()).card, **changed)


@given(st.lists(st.text(max_size=8), min_size=3, max_size=3), st.text(max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_card_that_can_be_made_is_read_again(tmp_path: Path, names: list[str], base: str) -> None:
    adapter = build.adapter(build.network())
    try:
        card = replace(adapter.card, names=tuple(names), base=base)
    except AdapterError:
        return
    save_adapter(Adapter(adapter.deltas, card), tmp_path / "a.safetensors")
    assert load_adapter(tmp_path / "a.safetensors").card == card
