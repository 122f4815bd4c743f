"""One source under watch: what it is watched with, what is tracked in it, and what is an alarm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.detections import Detections
from vision_lora.streaming.alarms.rules import Alarm, Rules, Zone
from vision_lora.streaming.alarms.tracking import ByteTracks, Separate, Tracking
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.sources.inbox import Frame


class Watch:
    """Follows the detections of one source, and begins afresh when it is watched with something else.

    Args:
        zones: see `Rules`.
        min_frames: pictures of a video that have to show a thing; a picture that stands alone is enough by itself.
    """

    def __init__(self, zones: Mapping[str, Zone], min_frames: int) -> None:
        self._zones = zones
        self._min_frames = min_frames
        self._choice: Choice | None = None
        self._alone = False
        self._tracking: Tracking = Separate()
        self._rules: Rules | None = None

    def look(self, frame: Frame, found: Detections, choice: Choice) -> tuple[NDArray[np.int64], list[Alarm]]:
        """Numbers of the things that the detections of the next picture show, (n,), and the alarms.

        Args:
            frame: the picture.
            found: its detections.
            choice: what they were made with.
        """
        if self._rules is None or choice != self._choice or frame.alone != self._alone:
            self._choice, self._alone = choice, frame.alone
            self._tracking = Separate() if frame.alone else ByteTracks(choice)
            self._rules = Rules(
                choice, self._zones, 1 if frame.alone else self._min_frames, before=0 if frame.alone else 1
            )
        tracks = self._tracking.follow(found, frame.clock)
        return tracks, self._rules.judge(found, tracks, frame.size, frame.clock)
