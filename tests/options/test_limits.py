"""Ranges stand beside the options, and hold for every class of them: from the command line, YAML and Python alike."""

from __future__ import annotations

import re
from dataclasses import Field
from typing import Any

import pytest

from tests.options.every import classes, kinds, options
from vision_lora.errors import ConfigError
from vision_lora.options.compare import BenchmarkConfig, CompareConfig
from vision_lora.options.detect import PredictConfig
from vision_lora.options.limits import Limits
from vision_lora.options.option import GROUPS, Options
from vision_lora.options.train import TrainConfig

ALL = classes()
EACH = [pytest.param(config, item, id=f"{config.__name__}-{item.name}") for config in ALL for item in options(config)]
NUMBERS = [each for each in EACH if each.values[1].metadata["limits"] is not None]  # type: ignore[union-attr]


def test_the_classes_are_found() -> None:
    assert {TrainConfig, PredictConfig, CompareConfig, BenchmarkConfig} < set(ALL)
    assert {config.__module__.split(".")[1] for config in ALL} == {"options", "benchmarks", "comparison", "zoo"}
    assert all(issubclass(config, Options) for config in ALL)


@pytest.mark.parametrize(("config", "item"), EACH)
def test_every_option_says_what_it_is(config: type[Options], item: Field[Any]) -> None:
    assert config.__doc__
    assert item.metadata["help"]
    assert item.metadata["group"] in GROUPS
    if {int, float} & set(kinds(config, item.name)):
        assert (item.metadata["limits"] is None) == bool(item.metadata["unlimited"]), "a range, or why there is none"
    else:
        assert item.metadata["limits"] is None


def given(config: type[Options], name: str, value: float) -> dict[str, Any]:
    """What has to be given, and a number."""
    needed = {item.name: ["x"] if item.metadata["repeated"] else "x" for item in options(config) if _needed(item)}
    return needed | {name: value}


def _needed(item: Field[Any]) -> bool:
    return bool(item.metadata["required"])


def outside(limits: Limits) -> list[float]:
    """Numbers next to the range, and one between two multiples."""
    below = [] if limits.at_least is None else [limits.at_least - 1]
    above = [] if limits.at_most is None else [limits.at_most + 1]
    edges = [edge for edge in (limits.more_than, limits.less_than) if edge is not None]
    between = [] if limits.multiple_of is None or limits.at_least is None else [limits.at_least + 1]
    return [*(number for number in (*below, *above, *edges) if number != limits.apart), *between, float("nan")]


@pytest.mark.parametrize(("config", "item"), NUMBERS)
def test_a_number_out_of_range_is_refused_by_name(config: type[Options], item: Field[Any]) -> None:
    limits: Limits = item.metadata["limits"]
    wrong = outside(limits)
    assert len(wrong) >= 2
    for number in wrong:
        told = f"--{item.name.replace('_', '-')} {number}: expected {limits}"
        with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
            config(**given(config, item.name, number))


@pytest.mark.parametrize(("config", "item"), NUMBERS)
def test_the_default_and_the_ends_of_a_range_are_in_it(config: type[Options], item: Field[Any]) -> None:
    limits: Limits = item.metadata["limits"]
    inside = [number for number in (limits.at_least, limits.at_most, limits.apart) if number is not None]
    for number in (*inside, *([item.default] if isinstance(item.default, (int, float)) else [])):
        assert limits.hold(number)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(at_least=1), "1 or more"),
        (Limits(at_least=0, at_most=1), "0 to 1"),
        (Limits(at_least=0, less_than=1), "0 or more, less than 1"),
        (Limits(more_than=0, at_most=1000), "more than 0, at most 1000"),
        (Limits(more_than=0, unit="seconds"), "more than 0, in seconds"),
        (
            Limits(at_least=32, at_most=8192, multiple_of=32, unit="pixels", apart=0),
            "a multiple of 32 from 32 to 8192, in pixels, or 0",
        ),
    ],
)
def test_a_range_in_words(limits: Limits, told: str) -> None:
    assert str(limits) == told
