"""Which pictures of a source are worth a label: where the detector was unsure, where tracks flicker, some others."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_lora.evaluation.scoring.uncertainty import uncertainty
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.detecting import DetectedFrame

UNSURE = 0.8  # of `uncertainty`, at the threshold 1: with a threshold of 0.25 these are scores of 0.2 to 0.4
EVERY = 1.0  # seconds between two pictures of a source that are kept, at least
RANDOM = 60.0  # seconds between two pictures that are kept whatever they show, on average

Reason = Literal["unsure", "flicker", "random"]


class Telling(NamedTuple):
    """A picture that is worth a label.

    Attributes:
        reason: `unsure`: a score near its threshold; `flicker`: a thing that was seen before and after was not seen
            here; `random`: none of these, so that what the detector never doubts is seen by somebody as well.
        detected: the picture.
    """

    reason: Reason
    detected: DetectedFrame


class _Gap(NamedTuple):
    """The last picture in which things were not seen any more, and their numbers."""

    detected: DetectedFrame
    missing: frozenset[int]


@dataclass
class TellingFrames:
    """Chooses among the pictures of one source, in their order.

    Args:
        random: decides when a picture is kept whatever it shows: a Poisson process, so that no rhythm of the line is
            followed.
    """

    random: Random = field(default_factory=Random)
    _kept_at: float = -np.inf
    _random_at: float | None = None
    _choice: Choice | None = None
    _tracks: frozenset[int] = frozenset()
    _gap: _Gap | None = None

    def look(
        self, detected: DetectedFrame, tracks: NDArray[np.int64], thresholds: NDArray[np.float64]
    ) -> Telling | None:
        """The picture to keep: this one, or an earlier one that this one shows something about; mostly none.

        Args:
            detected: the next picture.
            tracks: number of each detection, (n,), -1 for none.
            thresholds: from which score on each counts, (n,).
        """
        frame, scores = detected.frame, detected.found.scores
        clock = frame.number * EVERY if frame.alone else frame.clock  # those that stand alone have no time
        if self._random_at is None:
            self._random_at = clock + self.random.expovariate(1 / RANDOM)
        flicker = self._flicker(detected, frozenset(tracks[(scores >= thresholds) & (tracks >= 0)].tolist()))
        if clock - self._kept_at < EVERY:
            return None
        if flicker is not None:
            told = Telling("flicker", flicker)
        elif uncertainty(scores, thresholds).max(initial=0.0) >= UNSURE:
            told = Telling("unsure", detected)
        elif clock >= self._random_at:
            told = Telling("random", detected)
            self._random_at = clock + self.random.expovariate(1 / RANDOM)
        else:
            return None
        self._kept_at = clock
        return told

    def _flicker(self, detected: DetectedFrame, now: frozenset[int]) -> DetectedFrame | None:
        """The picture in which something was not seen that is seen again now."""
        if detected.choice != self._choice:  # another tracker, with numbers of its own
            self._choice, self._tracks, self._gap = detected.choice, frozenset(), None
        shown = None
        if self._gap is not None and self._gap.missing & now:
            shown, self._gap = self._gap.detected, None
        if vanished := self._tracks - now:
            self._gap = _Gap(detected, vanished)
        self._tracks = now
        return shown
