"""What an option is: a field of a dataclass with its line of help, the checks that verbs share, and a kind of value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from vision_lora.errors import ConfigError


def option(default: Any, text: str, *, positional: bool = False, repeated: bool = False) -> Any:
    """A field with its default and its line in `--help`, which names the unit where there is one.

    Args:
        default: its value where it is not given.
        text: its line.
        positional: whether it is given without its name.
        repeated: whether it may be given several times, for a list.
    """
    return field(default=default, metadata={"help": text, "positional": positional, "repeated": repeated})


def demand(condition: object, name: str, value: object, expected: str) -> None:
    """Raise a ConfigError that names the option, what was given and what was expected."""
    if not condition:
        raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {expected}")


class Options:
    """Checks what all verbs share; a verb's own `__post_init__` adds to it."""

    own_size: ClassVar[bool] = False  # whether --imgsz 0 stands for the pictures' own

    def __post_init__(self) -> None:
        given = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        for name, value in given.items():
            demand(not isinstance(value, str) or "\0" not in value, name, value, "no NUL in it")
        for name in ("epochs", "batch", "rank", "patience", "repeats", "devices"):
            if name in given and given[name] != "auto":
                demand(given[name] >= 1, name, given[name], "1 or more")
        if (imgsz := given.get("imgsz")) is not None and (imgsz or not self.own_size):
            demand(
                32 <= imgsz <= 8192 and imgsz % 32 == 0, "imgsz", imgsz, "a multiple of 32 from 32 to 8192, in pixels"
            )
        for name in ("confidence", "iou"):
            if name in given:
                demand(0 <= given[name] <= 1, name, given[name], "0 to 1")
        if "tile" in given:
            demand(given["tile"] == 0 or given["tile"] >= 32, "tile", given["tile"], "32 or more, in pixels, or 0")
            demand(0 <= given["overlap"] < 1, "overlap", given["overlap"], "0 or more, less than 1")
        if "threads" in given:
            demand(0 <= given["threads"] <= 1024, "threads", given["threads"], "0 to 1024")
        if isinstance(given.get("workers"), int):
            demand(0 <= given["workers"] <= 64, "workers", given["workers"], "0 to 64")


@dataclass(frozen=True)
class Budget:
    """How much an adapter may cost.

    Attributes:
        kind: `parameters`, or `time` of both passes together.
        limit: share of the base's parameters, 0 to 1; or time of both passes by that of one, 1 to 2.
    """

    kind: Literal["parameters", "time"]
    limit: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `5%` or `1.5x`.

        Raises:
            ConfigError: it is neither.
        """
        kind: Literal["parameters", "time"] = "parameters" if text.endswith("%") else "time"
        try:
            number = float(text[:-1])
        except ValueError:
            number = math.nan
        fits = 0 < number <= 100 if kind == "parameters" else text.endswith("x") and 1 < number <= 2
        demand(fits, "budget", text, "parameters, such as 5%, or time of both passes by that of one, such as 1.5x")
        return cls(kind, number / 100 if kind == "parameters" else number)

    def __str__(self) -> str:
        return f"{self.limit * 100:g}%" if self.kind == "parameters" else f"{self.limit:g}x"
