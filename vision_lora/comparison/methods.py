"""Methods of a comparison: from the words of `--methods` to the options of a training run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vision_lora.errors import ConfigError
from vision_lora.options.capacity import Norm
from vision_lora.options.common import Variant
from vision_lora.options.option import one_of
from vision_lora.options.placement import Placement
from vision_lora.options.train import Start, TrainConfig

# Each name with the options of `train` that it fixes. The last two are no methods of `train`.
NAMES: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora"},
    "ssf": {"method": "lora", "variant": "ssf"},
    "full": {"method": "full"},
    "freeze": {"method": "freeze"},
    "head": {"method": "head"},
    "peft": {},
    "ultralytics": {},
}
_LOOP = ("weight_decay", "warmup", "ema", "clip")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "lora": (
        *_LOOP,
        "rank",
        "alpha",
        "variant",
        "norm",
        "start",
        "placement",
        "lora_plus",
        "budget",
        "joint",
        "retain_weight",
    ),
    "ssf": (*_LOOP, "norm", "placement", "budget", "joint", "retain_weight"),
    "full": (*_LOOP, "joint"),
    "freeze": (*_LOOP, "joint"),
    "head": (*_LOOP, "joint"),
    "peft": (*_LOOP, "rank"),
    "ultralytics": (),
}
_WORDS = {
    "variant": get_args(Variant),
    "norm": get_args(Norm),
    "start": get_args(Start),
    "placement": get_args(Placement),
}


@dataclass(frozen=True)
class Method:
    """One method of a comparison.

    Attributes:
        text: as it was given but for `lrs`, which is its name in tables: `lora:rank=16`.
        name: one of `NAMES`.
        options: options of `train` that it sets.
        lrs: peak learning rates to try on val; (None,) for a method that sets its own.
    """

    text: str
    name: str
    options: Mapping[str, Any]
    lrs: tuple[float | None, ...]

    @property
    def keeps_classes(self) -> bool:
        """Whether the base's classes can still be asked for: an adapter or a joint head has them, others lose them."""
        return self.options.get("method") == "lora" or self.joint

    @property
    def joint(self) -> bool:
        """Whether one pass detects the base's classes and the new ones."""
        return bool(self.options.get("joint"))


def parse_methods(text: str, lrs: tuple[float, ...]) -> tuple[Method, ...]:
    """Read `--methods`: names separated by commas, each with options behind colons.

    Args:
        text: such as `lora,lora:rank=16:variant=dora,full:lrs=0.0002/0.0005/0.001`.
        lrs: learning rates of the methods that do not name their own.

    Raises:
        ConfigError: an unknown method or option, a value out of range, a method twice, or unequal effort.

    Examples:
        >>> [method.options for method in parse_methods("lora:rank=4,head", (0.001,))]
        [{'method': 'lora', 'rank': 4}, {'method': 'head'}]
    """
    methods = tuple(_parse(word.strip(), lrs) for word in text.split(","))
    texts = [method.text for method in methods]
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ConfigError(f"--methods {twice}: given twice; expected each method once")
    for method in methods:
        if method.lrs != (None,) and len(method.lrs) != len(lrs):
            raise ConfigError(
                f"--methods {method.text}: {len(method.lrs)} learning rates, but --lrs has {len(lrs)}; "
                "expected as many for each method: equal effort"
            )
    return methods


def _parse(word: str, lrs: tuple[float, ...]) -> Method:
    name, *settings = word.split(":")
    if name not in NAMES:
        raise ConfigError(f"--methods {word or '(nothing)'}: expected one of {', '.join(NAMES)}, with options behind :")
    if name == "peft" and importlib.util.find_spec("peft") is None:
        raise ConfigError("--methods peft: the library is not installed; pip install 'vision-lora[peft]'")
    own: tuple[float | None, ...] = (None,) if name == "ultralytics" else lrs
    options = dict(NAMES[name])
    for setting in settings:
        key, _, value = setting.partition("=")
        if key == "lrs":
            own = parse_lrs(value.replace("/", ","), f"methods {word}")
        elif setting == "joint" and "joint" in _OPTIONS[name]:
            options["joint"] = True
        elif key in _OPTIONS[name] and key != "joint":
            options[key] = _value(word, key, value)
        else:
            known = ", ".join((*_OPTIONS[name], "lrs"))
            raise ConfigError(f"--methods {word}: no option {key!r}; expected one of {known}, as {name}:option=value")
    try:
        TrainConfig(data="-", **options)  # checks the ranges
    except ConfigError as error:
        raise ConfigError(f"--methods {word}: {error}") from None
    kept = [setting for setting in settings if not setting.startswith("lrs=")]
    return Method(":".join((name, *kept)), name, options, own)


def parse_lrs(text: str, option: str) -> tuple[float, ...]:
    """Peak learning rates, separated by commas.

    Raises:
        ConfigError: no number, or out of range; it names `option`.
    """
    try:
        rates = tuple(float(word) for word in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
        raise ConfigError(f"--{option}: learning rates {text}; expected numbers between 0 and 1, each once")
    return rates


def _value(word: str, key: str, text: str) -> Any:
    """An option's value: one of its words, a whole number, or a number."""
    if key == "budget":  # a share or a time, checked with the other options
        return text
    if key in _WORDS:
        if text not in _WORDS[key]:
            raise ConfigError(f"--methods {word}: {key}={text}; expected {one_of(_WORDS[key], text)}")
        return text
    if (key, text) == ("rank", "auto"):
        return text
    try:
        return int(text) if key == "rank" else float(text)
    except ValueError:
        raise ConfigError(f"--methods {word}: {key}={text}; expected a number") from None
