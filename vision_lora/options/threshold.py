"""The rule by which thresholds are chosen, as a user states it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vision_lora.options.option import demand

FORMS = "f1, recall=0.99 or false-alarms=1/100; all: in front, as in all:f1, for one threshold of all classes"


@dataclass(frozen=True)
class Rule:
    """What a threshold has to reach.

    Attributes:
        kind: `f1`: the best F1; `recall`: the highest threshold with at least this recall; `false-alarms`: the lowest
            with at most so many in a picture.
        value: recall, 0 to 1, or false alarms a picture; 0 for `f1`.
        together: one threshold for all classes, chosen on all of their detections; else one for each class.
        text: as it was stated.
    """

    kind: Literal["f1", "recall", "false-alarms"]
    value: float
    together: bool
    text: str

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read `f1`, `recall=0.99`, `false-alarms=1/100`, each also behind `all:`.

        Raises:
            ConfigError: it is none of these.

        Examples:
            >>> Rule.parse("all:false-alarms=1/100").value
            0.01
        """
        bare = text.removeprefix("all:")
        kind: Literal["f1", "recall", "false-alarms"] = "f1"
        value = 0.0
        if recall := re.fullmatch(r"recall=(\d*\.?\d+)", bare):
            kind, value = "recall", float(recall[1])
        elif alarms := re.fullmatch(r"false-alarms=(\d{1,9})/(\d{1,9})", bare):
            kind, value = "false-alarms", int(alarms[1]) / max(1, int(alarms[2]))
        fits = bare == "f1" or (kind == "recall" and 0 < value <= 1) or (kind == "false-alarms" and int(alarms[2]) > 0)  # type: ignore[index]
        demand(fits, "threshold", text, FORMS)
        return cls(kind, value, bare != text, text)


DEFAULT_RULE = Rule("f1", 0.0, together=False, text="f1")
