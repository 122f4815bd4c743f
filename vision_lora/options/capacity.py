"""How much an adapter may change, and cost: its rank, BatchNorm's statistics, its budget; and what goes with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vision_lora.options.option import demand

if TYPE_CHECKING:
    from vision_lora.options.train import TrainConfig

Rank = int | Literal["auto"]
Norm = Literal["frozen", "live"]

# With a race that chooses rank and norm: one process, and nothing that is chosen by rank or that has a rank of its own.
_RACE: dict[str, tuple[object, ...]] = {
    "method": ("lora",),
    "variant": ("lora", "rslora", "dora"),
    "norm": ("frozen",),
    "joint": (False,),
    "start": (None, "random"),
    "on": (None,),
    "budget": (None,),
    "devices": (1,),
}


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


def demand_capacity(config: TrainConfig) -> None:
    """Refuse what cannot be had together.

    Raises:
        ConfigError: names the option, and what goes.
    """
    if config.norm == "live":
        for condition, expected in (
            (config.method == "lora", "--method lora; other methods' statistics are live"),
            (not config.joint, "frozen with --joint: the old classes' pictures have other statistics"),
            (config.variant != "lora-fa", "frozen with --variant lora-fa, or its memory is not saved"),
        ):
            demand(condition, "norm", "live", expected)
    if config.rank == "auto":
        for name, allowed in _RACE.items():
            words = " or ".join("none" if word is None else str(word) for word in allowed)
            value = getattr(config, name)
            demand(value in allowed, name, value, f"{words} with --rank auto, or a number for --rank")
