"""What was chosen on the page is remembered; a disk that takes nothing is told, and the choice holds."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.choices.state import StateFile

CONFIGURED, CHOSEN = Choice(None, "general", None), Choice("line1", "defects", 0.5, {"dent": 0.25})


def test_a_choice_is_recalled_until_the_configuration_is_another(tmp_path: Path) -> None:
    file = tmp_path / "events.state.json"
    StateFile(file).remember({"line": (CONFIGURED, CHOSEN)})
    assert StateFile(file).recall("line", CONFIGURED) == CHOSEN
    assert StateFile(file).recall("line", Choice(None, "general", 0.4)).confidence == 0.4


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        StateFile(tmp_path / "gone" / "events.state.json").remember({"line": (CONFIGURED, CHOSEN)})
    (record,) = caplog.records
    assert "events.state.json: cannot be written" in record.getMessage()
