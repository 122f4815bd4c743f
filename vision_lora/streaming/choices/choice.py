"""What a source is watched with: adapter, mode, thresholds. Changed as a whole while the stream goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vision_lora.errors import ConfigError
from vision_lora.pictures.detections import CONFIDENCE, Mode
from vision_lora.streaming.incoming import shown

# ByteTrack follows a known object also where its score falls below the threshold, down to this share of it.
FLOOR = 0.5


@dataclass(frozen=True)
class Choice:
    """What a source is watched with.

    Args:
        adapter: name of the adapter; None for the base alone.
        mode: which classes are looked for.
        confidence: lowest score that counts, 0 to 1; None for the adapter's own thresholds, and 0.25 for all other
            classes.
        thresholds: the same for single classes, by name.
        own: what the adapter's card says of its classes, by name.
    """

    adapter: str | None
    mode: Mode
    confidence: float | None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in ("general", "defects", "both"):
            raise ConfigError(f"mode {shown(self.mode)}: expected general, defects or both")
        if not isinstance(self.adapter, (str, type(None))):
            raise ConfigError(f"adapter {shown(self.adapter)}: expected its name")
        if self.mode == "defects" and self.adapter is None:
            raise ConfigError("mode defects: expected an adapter beside it")
        for name in self.thresholds:
            if not isinstance(name, str):
                raise ConfigError(f"threshold of {shown(name)}: expected the class's name as text, in quotes")
        thresholds = [(f"threshold of {shown(name)}", value) for name, value in self.thresholds.items()]
        confidence = [] if self.confidence is None else [("confidence", self.confidence)]
        for what, value in [*confidence, *thresholds]:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
                raise ConfigError(f"{what}: {shown(value)}; expected a number above 0, at most 1")

    def threshold(self, name: str, *, general: bool) -> float:
        """Lowest score of a class that counts; what the adapter's card says is of its own classes."""
        others = {} if general or self.confidence is not None else self.own
        usual = CONFIDENCE if self.confidence is None else self.confidence
        return self.thresholds.get(name, others.get(name, usual))

    @property
    def lowest(self) -> float:
        """Lowest score of any class that counts."""
        usual = [CONFIDENCE, *self.own.values()] if self.confidence is None else [self.confidence]
        return min([*usual, *self.thresholds.values()])

    @property
    def floor(self) -> float:
        """Lowest score that the tracker wants to know of."""
        return self.lowest * FLOOR

    def alarms(self, name: str, *, general: bool) -> bool:
        """Whether an object of a class gives an alarm: a defect, or a class with a threshold of its own.

        Where only the base's own classes are looked for, and none has a threshold, all of them do.
        """
        if not general or name in self.thresholds:
            return True
        return not self.thresholds and (self.mode == "general" or self.adapter is None)

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "adapter": self.adapter,
            "mode": self.mode,
            "confidence": self.confidence,
            "thresholds": dict(self.thresholds),
        }
