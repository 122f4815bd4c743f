"""From tracked boxes to alarms: one for each defect, however many pictures show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.detections import Detections
from vision_lora.streaming.choices.choice import Choice

# Nothing is forgotten before its tracker has: seconds of the source's clock.
FORGET_AFTER = 5.0

Zone = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Alarm:
    """One defect, when it has been seen often enough.

    Attributes:
        row: which detection of the picture shows it now.
        track: its number.
        name: its class: the one with the highest sum of scores so far.
        zone: name of the zone that it is in; empty where the source has none.
        frames: pictures that showed it.
    """

    row: int
    track: int
    name: str
    zone: str
    frames: int


@dataclass
class _Thing:
    seen_at: float
    frames: int
    alarmed: bool = False
    votes: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return max(self.votes, key=self.votes.__getitem__)


class Rules:
    """Decides which things in the pictures of one source are alarms.

    Args:
        choice: what the source is watched with.
        zones: polygons by name, corners as shares of the picture's width and height; none: the whole picture.
        min_frames: pictures that have to show a thing.
        before: pictures that showed a thing before its tracker gave it a number.
    """

    def __init__(self, choice: Choice, zones: Mapping[str, Zone], min_frames: int, before: int) -> None:
        self._choice = choice
        self._zones = {name: np.array(corners, np.float32) for name, corners in zones.items()}
        self._min_frames = min_frames
        self._before = before
        self._things: dict[int, _Thing] = {}

    def judge(self, found: Detections, tracks: NDArray[np.int64], size: tuple[int, int], clock: float) -> list[Alarm]:
        """The alarms that this picture gives rise to.

        Args:
            found: its detections.
            tracks: their numbers, (n,), -1 for none.
            size: width and height of the picture, pixels.
            clock: its time, seconds.
        """
        alarms = []
        for row in np.flatnonzero(tracks >= 0).tolist():
            name, zone = found.name(row), self._zone(found.boxes[row], size)
            general = found.source(row) == "general"
            if zone is None or not self._choice.alarms(name, general=general):
                continue
            thing = self._things.setdefault(int(tracks[row]), _Thing(clock, self._before))
            thing.seen_at = clock
            if found.scores[row] < self._choice.threshold(name, general=general):
                continue
            thing.frames += 1
            thing.votes[name] = thing.votes.get(name, 0.0) + float(found.scores[row])
            if not thing.alarmed and thing.frames >= self._min_frames:
                thing.alarmed = True
                alarms.append(Alarm(row, int(tracks[row]), thing.name, zone, thing.frames))
        self._things = {key: thing for key, thing in self._things.items() if clock - thing.seen_at < FORGET_AFTER}
        return alarms

    def _zone(self, box: NDArray[np.float32], size: tuple[int, int]) -> str | None:
        """The zone that a box's centre is in; empty where there are no zones, None where it is in none."""
        if not self._zones:
            return ""
        centre = ((box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1])
        point = (float(centre[0]), float(centre[1]))
        return next((name for name, zone in self._zones.items() if cv2.pointPolygonTest(zone, point, False) >= 0), None)
