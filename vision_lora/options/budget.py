"""The kind of value that `--budget` takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vision_lora.options.option import demand


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
