from __future__ import annotations

import importlib.util

import pytest

from vision_lora.comparison.methods import parse_lrs, parse_methods
from vision_lora.errors import ConfigError

LRS = (0.001, 0.002)


def test_a_method_is_a_name_with_options_of_train() -> None:
    lora, ssf, head, outside = parse_methods(
        "lora:rank=4:variant=dora:placement=neck:alpha=16, ssf,head:ema=0,ultralytics", LRS
    )
    assert lora.text == "lora:rank=4:variant=dora:placement=neck:alpha=16"
    assert lora.options == {"method": "lora", "rank": 4, "variant": "dora", "placement": "neck", "alpha": 16.0}
    assert ssf.options == {"method": "lora", "variant": "ssf"}
    assert head.options == {"method": "head", "ema": 0.0}
    assert outside.options == {}
    live, race = parse_methods("lora:norm=live:rank=32,lora:rank=auto", LRS)
    assert live.options == {"method": "lora", "norm": "live", "rank": 32}
    assert race.options == {"method": "lora", "rank": "auto"}


def test_who_keeps_the_classes_of_the_base() -> None:
    methods = parse_methods("lora,lora:joint:retain_weight=2,ssf,full,full:joint,freeze,head,ultralytics", LRS)
    assert [method.keeps_classes for method in methods] == [True, True, True, False, True, False, False, False]
    assert [method.text for method in methods if method.joint] == ["lora:joint:retain_weight=2", "full:joint"]


def test_each_method_tries_as_many_learning_rates() -> None:
    lora, full, outside = parse_methods("lora,full:lrs=0.0002/0.0005,ultralytics", LRS)
    assert lora.lrs == LRS
    assert full.lrs == (0.0002, 0.0005)
    assert full.text == "full"
    assert outside.lrs == (None,)
    with pytest.raises(ConfigError, match=r"full: 1 learning rates, but --lrs has 2; .* equal effort"):
        parse_methods("lora,full:lrs=0.0002", LRS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "--methods magic: expected one of lora, ssf"),
        ("lora,", r"--methods \(nothing\): expected one of"),
        ("lora:speed=9", "--methods lora:speed=9: no option 'speed'; expected one of .*rank"),
        ("full:rank=4", "no option 'rank'"),
        ("ultralytics:joint", "no option 'joint'"),
        ("lora:joint=maybe", "no option 'joint'|expected"),
        ("lora:rank=many", "rank=many; expected a number"),
        ("lora:rank=0", "lora:rank=0: --rank 0: expected 1 or more"),
        ("lora:variant=magic", "variant=magic; expected one of lora, rslora"),
        ("lora:norm=batch", "norm=batch; expected one of frozen, live"),
        ("lora:norm=live:joint", "--norm live: expected frozen with --joint"),
        ("lora,full,lora", "--methods lora: given twice"),
        ("full,full:lrs=0.1/0.2", "--methods full: given twice"),
        ("full:lrs=0.1/x", "learning rates 0.1,x; expected numbers between 0 and 1"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_methods(text, LRS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "0.1,", "1.5", "-0.1", "0.1,0.1", "nan"])
def test_learning_rates_are_numbers_between_0_and_1_each_once(text: str) -> None:
    with pytest.raises(ConfigError, match="--lrs: learning rates"):
        parse_lrs(text, "lrs")


def test_a_library_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'vision-lora\[peft\]'"):
        parse_methods("peft", LRS)
