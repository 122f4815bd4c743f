"""Which threshold counts: a person's, else the adapter's own, else the usual one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.streaming.build import adapter_files, draw_squares, running, write_video
from vision_lora.adapters.file import load_adapter, save_card
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.web.app import describe

OWN = {"dent": 0.1, "scratch": 0.6}


def test_nobody_has_said_anything() -> None:
    choice = Choice("line", "both", None, own=OWN)
    assert [choice.threshold(name, general=False) for name in ("dent", "scratch", "pit")] == [0.1, 0.6, 0.25]
    assert choice.threshold("dent", general=True) == 0.25, "the base's class of the same name is another"
    assert (choice.lowest, choice.floor) == (0.1, 0.05)
    assert Choice("line", "both", None).lowest == 0.25


def test_what_a_person_says_counts_more() -> None:
    choice = Choice("line", "both", None, {"dent": 0.4}, OWN)
    assert [choice.threshold(name, general=False) for name in OWN] == [0.4, 0.6]
    choice = Choice("line", "both", 0.5, {"dent": 0.4}, OWN)
    assert [choice.threshold(name, general=False) for name in OWN] == [0.4, 0.5]
    assert choice.lowest == 0.4


def test_thresholds_of_the_card_are_no_wish_for_alarms() -> None:
    """Where the base's own classes are looked for alone they give alarms, unless a person names classes."""
    assert Choice("line", "general", None, own=OWN).alarms("person", general=True)
    assert not Choice("line", "general", None, {"dent": 0.4}, OWN).alarms("person", general=True)


def test_thresholds_on_the_adapters_card_count_until_somebody_names_others(tmp_path: Path) -> None:
    video = write_video(tmp_path / "belt.mp4", draw_squares(20))
    file = adapter_files(tmp_path, line=("scratch",)) / "line.safetensors"
    save_card(replace(load_adapter(file).card, thresholds={"scratch": 0.99}, rule="f1 on val"), file)
    given = {"url": str(video), "adapter": str(file), "mode": "defects"}
    for more, alarms in (({}, 0), ({"confidence": 0.5}, 1), ({"thresholds": {"scratch": 0.5}}, 1)):
        with running(source=[{**given, **more}]) as at_work:
            assert at_work.end() == 0
            assert sum(at_work.read("belt").alarms.values()) >= alarms
            assert bool(at_work.read("belt").alarms) == bool(alarms), more
            assert describe(at_work.service)["sources"][0]["choice"]["own"] == {"scratch": 0.99}
