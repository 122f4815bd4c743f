"""The thread that judges, from detections to alarms: what is tracked, told, shown and recorded of each picture."""

from __future__ import annotations

import hashlib
import queue
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_lora.pictures.detections import Detections
from vision_lora.streaming.alarms.rules import Alarm
from vision_lora.streaming.alarms.watch import Watch
from vision_lora.streaming.detecting import DetectedFrame
from vision_lora.streaming.records.collector import Collector
from vision_lora.streaming.records.crops import Crops
from vision_lora.streaming.records.journal import Journal
from vision_lora.streaming.records.segments import Recorder, file_stamp
from vision_lora.streaming.sources.stats import Stats
from vision_lora.streaming.view import PageFrame, View
from vision_lora.streaming.worker import Worker


class Judging(Worker):
    """Takes detected frames in order and hands each on: to the tracker, the journal, the page and the recording.

    Args:
        frames: of a `Detecting`; None ends it.
        watches: what follows each source.
        stats: numbers of each source.
        journal: where alarms are told.
        crops: where their close-ups are kept.
        view: what the page shows.
        recorder: what records; None where nothing is recorded.
        collector: what keeps pictures to label; None where none are kept.
    """

    def __init__(
        self,
        frames: queue.Queue[list[DetectedFrame] | None],
        watches: Mapping[str, Watch],
        stats: Mapping[str, Stats],
        journal: Journal,
        crops: Crops,
        view: View,
        recorder: Recorder | None,
        collector: Collector | None,
    ) -> None:
        super().__init__("judging")
        self._frames, self._watches, self._stats = frames, watches, stats
        self._journal, self._crops, self._view = journal, crops, view
        self._recorder, self._collector = recorder, collector

    def work(self) -> None:
        while (batch := self._frames.get()) is not None:
            for detected in batch:
                self._judge(detected)

    def _judge(self, detected: DetectedFrame) -> None:
        frame, found, choice = detected.frame, detected.found, detected.choice
        tracks, alarms = self._watches[frame.source].look(frame, found, choice)
        for alarm in alarms:
            self._tell(detected, alarm)
        self._stats[frame.source].detected(time.monotonic() - frame.captured)
        limits = np.array(
            [choice.threshold(found.name(i), general=found.source(i) == "general") for i in range(len(found))]
        )
        counts = found.scores >= limits
        shown = replace(found, boxes=found.boxes[counts], scores=found.scores[counts], classes=found.classes[counts])
        boxes = _for_page(shown, tracks[counts], frame.size)
        self._view.show(frame.source, PageFrame(frame.number, detected.picture, boxes))
        if self._recorder is not None:
            self._recorder.record(frame, detected.picture, shown)
        if self._collector is not None:
            self._collector.look(detected, tracks, limits)

    def _tell(self, detected: DetectedFrame, alarm: Alarm) -> None:
        frame, found, row = detected.frame, detected.found, alarm.row
        key = f"{frame.source} {frame.key} {alarm.track}"
        event_id = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        name = f"{file_stamp(frame.at)}-{frame.source}-{event_id}"
        # First the close-up, then the event that names it.
        crop = self._crops.keep(event_id, name, detected.picture, found.boxes[row])
        event = self._journal.tell(
            "alarm",
            frame.source,
            event_id=event_id,
            at=frame.at,
            **{"class": alarm.name},
            vocabulary=found.source(row),
            score=round(float(found.scores[row]), 4),
            box=[round(float(value), 1) for value in found.boxes[row]],
            size=list(frame.size),
            track=alarm.track,
            picture=frame.number,
            **({"file": frame.file} if frame.file else {}),
            **({"zone": alarm.zone} if alarm.zone else {}),
            adapter=detected.choice.adapter,
            crop=None if crop is None else crop.name,
        )
        if event is not None:
            self._stats[frame.source].alarmed(alarm.name)


def _for_page(found: Detections, tracks: NDArray[np.int64], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Boxes as the page draws them: corners as shares of width and height."""
    shares: Mapping[int, Any] = dict(enumerate((found.boxes / np.array([*size, *size], np.float32)).tolist()))
    rows = []
    for i, corners in shares.items():
        defect = found.source(i) == "defects"
        rows.append(
            {
                "box": [round(value, 4) for value in corners],
                "name": found.name(i),
                "score": round(float(found.scores[i]), 3),
                "defect": defect,
                "index": int(found.classes[i]) - (found.general if defect else 0),
                "track": int(tracks[i]),
            }
        )
    return rows
