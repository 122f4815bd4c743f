"""A race for `--rank auto`: a few recipes each train for the first epochs of the run, and the best one goes on.

Which rank pictures need, and whether BatchNorm's statistics should be theirs, is not seen in the pictures; val tells
early: after two epochs on DeepPCB YOLO11n has 0.552 with rank 8 and 0.591 with rank 32 (640 px, one seed). Each
candidate runs exactly as it would alone: same seed, same schedule. So the winner's first epochs are those of its run,
and it goes on from where it stands; only the losers' are lost. The averaged weights that val is measured with stand in
for the low learning rate of a run's end (Polyak & Juditsky 1992).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_lora.options.capacity import Norm
from vision_lora.training.job import Job, with_recipe
from vision_lora.training.loop.listener import Row
from vision_lora.training.runs.state import ALWAYS, State

SHARE = 0.1  # of the epochs that each candidate trains
LEAD = 0.01  # mAP50-95 on val by which a candidate has to be ahead of one that costs less
_FOLDER = "race"


@dataclass(frozen=True)
class Candidate:
    """A recipe that takes part.

    Attributes:
        rank: of the low-rank factors.
        norm: BatchNorm's statistics.
    """

    rank: int
    norm: Norm

    def __str__(self) -> str:
        return f"rank {self.rank} with {self.norm} statistics"


CANDIDATES = (Candidate(8, "frozen"), Candidate(32, "live"))  # the cheaper first


def laps(epochs: int) -> int:
    """How many epochs each candidate trains of a run of so many; 0 where the run is too short for a race.

    Examples:
        >>> [laps(epochs) for epochs in (4, 9, 10, 20, 100)]
        [0, 0, 1, 2, 10]
    """
    return math.floor(SHARE * epochs)


def choose(scores: Sequence[float]) -> int:
    """Which candidate goes on.

    Args:
        scores: mAP50-95 on val after the same number of epochs, of candidates that cost ever more.

    Examples:
        >>> choose([0.28, 0.16]), choose([0.552, 0.591]), choose([0.552, 0.561])
        (0, 1, 0)
    """
    chosen = 0
    for index, score in enumerate(scores):
        if score > scores[chosen] + LEAD:
            chosen = index
    return chosen


class Race:
    """The race of one run; where it stands is kept in the run's state.

    Args:
        epochs: of the run.
        state: of the run; holds what has been trained so far.
        out: the run's folder.

    Attributes:
        laps: see `laps`.
    """

    def __init__(self, epochs: int, state: State, out: Path) -> None:
        self.laps = laps(epochs)
        self._state = state
        self._folder = out / _FOLDER

    def run(self, job: Job, train: Callable[[Job, Path], object], tell: Callable[[str], None]) -> tuple[Job, str]:
        """Train the candidates that have not been, choose, and leave the state and the files of the winner.

        Args:
            job: of any candidate; its pictures serve all.
            train: trains a job for `laps` epochs from the state, or for what is left of them, and writes its files into
                a folder.
            tell: is told of each candidate, and of the choice.

        Returns:
            The winner's job, and what was chosen and why, in a line.
        """
        race = self._state.race
        while self.laps and race["chosen"] is None and len(race["done"]) < len(CANDIDATES):
            candidate = CANDIDATES[len(race["done"])]
            job = _entered(job, candidate)
            tell(f"race: {candidate}, {_epochs(self.laps)}")
            folder = self._place(candidate)
            folder.mkdir(parents=True, exist_ok=True)
            train(job, folder)
            race["done"].append(_trained(self._state))
            self._state.values = None
        if race["chosen"] is None:
            self._settle([values["rows"][-1] for values in race["done"]])
        winner = CANDIDATES[race["chosen"]]
        for file in self._place(winner).glob("*"):  # again where the run was ended meanwhile
            file.replace(self._folder.parent / file.name)
        shutil.rmtree(self._folder, ignore_errors=True)
        tell(race["reason"])
        return _entered(job, winner), race["reason"]

    def _settle(self, rows: Sequence[Row]) -> None:
        """Choose, and write it down together with the winner's state."""
        race = self._state.race
        scores = [row["map50_95"] for row in rows]
        race["chosen"] = choose(scores)
        race["reason"] = f"rank auto: {CANDIDATES[race['chosen']]}: {self._why(scores)}"
        if scores:
            self._state.values = race["done"][race["chosen"]]
            race["done"] = []
            self._state.save(self._state.values)

    def _why(self, scores: Sequence[float]) -> str:
        if not scores:
            return f"the run is too short for a race, which takes {math.ceil(1 / SHARE)} epochs or more"
        told = ", ".join(f"{score:.3f} with rank {one.rank}" for score, one in zip(scores, CANDIDATES, strict=True))
        return f"mAP50-95 on val {told} after {_epochs(self.laps)} each; more rank has to be {LEAD:g} ahead"

    def _place(self, candidate: Candidate) -> Path:
        return self._folder / f"{candidate.rank}-{candidate.norm}"


def costliest() -> Candidate:
    """The candidate that needs the most memory."""
    return CANDIDATES[-1]


def entry(state: State | None) -> Candidate:
    """The candidate that a run is at: the first, that of its state, or the winner."""
    if state is None:
        return CANDIDATES[0]
    chosen = state.race["chosen"]
    return CANDIDATES[min(len(state.race["done"]), len(CANDIDATES) - 1) if chosen is None else chosen]


def _trained(state: State) -> dict[str, Any]:
    """What a candidate's training has left in the file of the state."""
    values = State(state.file, state.identity, read=True).values
    assert values is not None, "it was read"
    return {name: value for name, value in values.items() if name not in ALWAYS}


def _entered(job: Job, candidate: Candidate) -> Job:
    """The job with a candidate's recipe, untrained; itself where it has that recipe already."""
    if (job.config.rank, job.config.norm) == (candidate.rank, candidate.norm):
        return job
    return with_recipe(job, rank=candidate.rank, norm=candidate.norm)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count > 1 else ''}"
