"""Which boxes of successive pictures show the same thing: ByteTrack (Zhang et al. 2022), by Roboflow's `trackers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from trackers import ByteTrackTracker

from vision_lora.pictures.detections import Detections
from vision_lora.streaming.choices.choice import Choice

LOST_FOR = 30  # a thing is remembered for so many thirtieths of a second in which it is not seen


class Tracking(Protocol):
    """Gives things in the pictures of one source their numbers."""

    def follow(self, found: Detections, clock: float) -> NDArray[np.int64]:
        """The number of each detection, (n,); -1 where it belongs to nothing that has been seen twice.

        Args:
            found: detections of the next picture.
            clock: its time, seconds.
        """


class ByteTracks:
    """Two trackers, one a vocabulary: a person in front of a scratch must not become its continuation.

    Args:
        choice: what the source is watched with.
    """

    def __init__(self, choice: Choice) -> None:
        self._trackers = [
            ByteTrackTracker(
                lost_track_buffer=LOST_FOR,
                track_activation_threshold=choice.lowest,
                high_conf_det_threshold=choice.lowest,
                minimum_consecutive_frames=1,
            )
            for _ in range(2)
        ]

    def follow(self, found: Detections, clock: float) -> NDArray[np.int64]:
        numbers = np.full(len(found), -1, np.int64)
        general = found.classes < found.general
        for part, tracker in enumerate(self._trackers):
            rows = np.flatnonzero(general if part else ~general)
            boxes = sv.Detections(xyxy=found.boxes[rows], confidence=found.scores[rows], data={"row": rows})
            tracked = tracker.update(boxes, timestamp=clock)
            if len(tracked):
                given = np.asarray(tracked.tracker_id, np.int64)
                # Numbers of the two trackers are told apart by being even or odd.
                numbers[np.asarray(tracked.data["row"], np.int64)] = np.where(given < 0, -1, given * 2 + part)
        return numbers


@dataclass
class Separate:
    """For pictures that have nothing to do with each other: every detection is a thing of its own."""

    last: int = -1

    def follow(self, found: Detections, clock: float) -> NDArray[np.int64]:  # noqa: ARG002 - as `Tracking` says
        numbers = np.arange(self.last + 1, self.last + 1 + len(found), dtype=np.int64)
        self.last += len(found)
        return numbers
