"""Thresholds by a rule: the score from which on a detection counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vision_lora.detectors.readout import MEASURE
from vision_lora.evaluation.scoring.curves import Curve, curve
from vision_lora.evaluation.scoring.outcomes import Outcomes
from vision_lora.options.threshold import Rule


@dataclass(frozen=True)
class Chosen:
    """Thresholds by a rule.

    Attributes:
        thresholds: by class; of those for which one could be chosen.
        unreached: of each class where the rule is not reached, what is, in a line.
        absent: classes without a box: nothing can be chosen for them.
    """

    thresholds: Mapping[str, float]
    unreached: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def choose_thresholds(outcomes: Outcomes, rule: Rule) -> Chosen:
    """A threshold for each class, by what the detections are worth.

    It lies halfway between the lowest score that counts and the next lower one, so that rounding in another format or
    on another device changes nothing.

    Args:
        outcomes: of a split that was not trained on.
        rule: what the threshold has to reach.
    """
    present = {name: bool((outcomes.true_classes == index).any()) for index, name in enumerate(outcomes.names)}
    absent = tuple(name for name, there in present.items() if not there)
    pictures = len(outcomes.samples)
    thresholds: dict[str, float] = {}
    unreached = []
    if rule.together:
        found = _choose(curve(outcomes), rule, pictures)
        if isinstance(found, str):
            return Chosen({}, (f"all classes: {found}",), absent)
        return Chosen({name: found for name, there in present.items() if there}, (), absent)
    for index, (name, there) in enumerate(present.items()):
        if not there:
            continue
        found = _choose(curve(outcomes, index), rule, pictures)
        if isinstance(found, str):
            unreached.append(f"{name}: {found}")
        else:
            thresholds[name] = found
    return Chosen(thresholds, tuple(unreached), absent)


def _choose(curve: Curve, rule: Rule, pictures: int) -> float | str:
    """The threshold; or, where the rule is not reached, what is."""
    if not len(curve.scores) or not curve.right[-1]:
        return (
            f"{rule.text.removeprefix('all:')} is not reached at any threshold: none of {curve.boxes} objects is found"
        )
    if rule.kind == "f1":
        place = int(curve.f1.argmax())
    elif rule.kind == "recall":
        reaching = np.flatnonzero(curve.recall >= rule.value)
        if not len(reaching):
            best = int(curve.recall.argmax())
            told = f"{curve.recall[best]:.3g} at {curve.scores[best]:.2g}"
            return f"recall {rule.value:g} is not reached at any threshold: {told}"
        place = int(reaching[0])
    else:
        quiet = np.flatnonzero(curve.wrong <= rule.value * pictures + 1e-9)
        if not len(quiet) or not curve.right[quiet[-1]]:
            first = int(np.flatnonzero(curve.right)[0])
            told = f"{curve.wrong[first]} in {pictures} pictures where the first object is found"
            told += f", at {curve.scores[first]:.2g}"
            return f"false alarms {rule.text.partition('=')[2]} are not kept at any threshold: {told}"
        place = int(quiet[-1])
    lower = curve.scores[place + 1] if place + 1 < len(curve.scores) else min(MEASURE.confidence, curve.scores[place])
    return float((curve.scores[place] + lower) / 2)
