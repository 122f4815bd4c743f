"""OK or not OK, part by part: how many bad parts are found, how many good ones are thrown away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vision_lora.evaluation.parts.intervals import roc_area, roc_area_interval, share_interval
from vision_lora.evaluation.scoring.outcomes import Floats, Outcomes

WIDE = 0.1  # width of an interval from which on it says little


@dataclass(frozen=True)
class Share:
    """A share of parts with its 95 % interval.

    Attributes:
        hits: how many.
        count: of how many.
        low: lower end of the interval, 0 to 1.
        high: upper end.
    """

    hits: int
    count: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, count: int) -> Share:
        """Of a count."""
        return cls(hits, count, *share_interval(hits, count))

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.hits / max(1, self.count)


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: of the part.
        pictures: places of the pictures that show it.
        bad: whether one of them shows an object.
        score: of its strongest detection against the threshold of its class: 0.5 is at the threshold, 0 no detection.
        rejected: whether a detection reaches its threshold.
    """

    name: str
    pictures: tuple[int, ...]
    bad: bool
    score: float
    rejected: bool


@dataclass(frozen=True)
class PartReport:
    """How well bad parts are told from good ones.

    Attributes:
        parts: each part.
        found: bad parts that are rejected.
        thrown_away: good parts that are rejected.
        area: under the ROC curve, 0 to 1; None without bad or without good parts.
        area_interval: of 95 %; None as `area`.
        undecided: parts that were left out: they show only what is to be ignored.
    """

    parts: Sequence[Part]
    found: Share
    thrown_away: Share
    area: float | None
    area_interval: tuple[float, float] | None
    undecided: int

    def scores(self, *, bad: bool) -> Floats:
        """Scores of the bad, or of the good parts."""
        return np.array([part.score for part in self.parts if part.bad == bad], np.float64)

    def doubts(self) -> Iterator[str]:
        """What these parts are too few to say, a line each."""
        for share, kind, what in (
            (self.found, "bad", "are found"),
            (self.thrown_away, "good", "would be thrown away"),
        ):
            if not share.count:
                yield f"no {kind} part among {len(self.parts)}: how many {what} cannot be said"
            elif share.high - share.low > WIDE:
                yield (
                    f"{share.count} {kind} parts: between {share.low:.0%} and {share.high:.0%} {what}; "
                    "more parts would say more"
                )


def judge_parts(outcomes: Outcomes, groups: Sequence[str], thresholds: Floats) -> PartReport:
    """Judge each part by its strongest detection.

    A part is rejected where a detection of any class reaches the threshold of its class. So that one number orders
    the parts, whatever the thresholds are, a detection is scored by its odds against those of the threshold.

    Args:
        outcomes: of a split.
        groups: the part that each picture shows, (pictures,).
        thresholds: lowest score that counts, by class, (classes,).
    """
    members: dict[str, list[int]] = {}
    for picture, group in enumerate(groups):
        members.setdefault(group, []).append(picture)
    limits = thresholds[outcomes.classes]
    relative = against(outcomes.scores, limits)
    score, rejected = np.zeros(len(groups)), np.zeros(len(groups), bool)
    np.maximum.at(score, outcomes.picture[outcomes.counts], relative[outcomes.counts])
    rejected[outcomes.picture[outcomes.counts & (outcomes.scores >= limits)]] = True
    parts, undecided = [], 0
    for name, pictures in members.items():
        shown = [outcomes.samples[picture] for picture in pictures]
        bad = any(len(sample.boxes) for sample in shown)
        if not bad and any(len(sample.ignored) for sample in shown):
            undecided += 1
            continue
        parts.append(Part(name, tuple(pictures), bad, float(score[pictures].max()), bool(rejected[pictures].any())))
    found, thrown = ([part.rejected for part in parts if part.bad == bad] for bad in (True, False))
    area, interval = None, None
    if found and thrown:
        of_bad, of_good = (np.array([part.score for part in parts if part.bad == kind]) for kind in (True, False))
        area, interval = roc_area(of_bad, of_good), roc_area_interval(of_bad, of_good)
    return PartReport(
        parts, Share.of(sum(found), len(found)), Share.of(sum(thrown), len(thrown)), area, interval, undecided
    )


def against(scores: Floats, thresholds: Floats) -> Floats:
    """Scores by their odds against those of thresholds: 0.5 at the threshold, 0 and 1 stay.

    Examples:
        >>> against(np.array([0.2, 0.5, 1.0]), np.array([0.2, 0.2, 0.2])).tolist()
        [0.5, 0.8, 1.0]
    """
    over, under = scores * (1 - thresholds), thresholds * (1 - scores)
    relative: Floats = over / (over + under).clip(1e-12)
    return relative
