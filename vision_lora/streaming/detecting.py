"""The thread that detects, from pictures to detections; while one picture is judged the next is detected."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_lora.detectors.readout import Readout
from vision_lora.errors import VisionLoraError
from vision_lora.pictures.detections import Detections
from vision_lora.streaming.choices.attached import Attached
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.sources.inbox import Frame, Inbox
from vision_lora.streaming.worker import Worker

BATCH = 8  # pictures at once
WAITING = 4  # batches that wait to be judged: beyond, the detector waits


@dataclass(frozen=True, eq=False)
class DetectedFrame:
    """A picture and what was found in it.

    Args:
        frame: the picture as it came.
        picture: (H, W, 3) uint8 RGB.
        found: detections down to the choice's floor.
        choice: what it was detected with.
    """

    frame: Frame
    picture: NDArray[np.uint8]
    found: Detections
    choice: Choice


class Detecting(Worker):
    """Takes pictures, detects in them in batches, hands the results on. Only its thread touches the detector.

    Args:
        attached: the detector.
        choices: what each source is watched with; changed by `ask` alone.
        inbox: where pictures come from.
        imgsz: side of the square pictures, pixels; None takes what each adapter was trained on.
        iou: overlap above which the weaker of two boxes of a class goes.
    """

    def __init__(
        self, attached: Attached, choices: dict[str, Choice], inbox: Inbox, *, imgsz: int | None, iou: float
    ) -> None:
        super().__init__("detecting")
        self.choices = choices
        self.results: queue.Queue[list[DetectedFrame] | None] = queue.Queue(WAITING)
        self.beat = time.monotonic()
        self._attached = attached
        self._inbox = inbox
        self._imgsz = imgsz
        self._iou = iou
        self._questions: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._finish = threading.Event()

    def ask(self, question: Callable[[], Any]) -> Future[Any]:
        """Have something done in this thread before the next picture is taken; its mistakes reach the future."""
        future: Future[Any] = Future()
        self._questions.put((question, future))
        self._inbox.wake()
        return future

    def finish(self) -> None:
        """Detect in what is there, then end."""
        self._finish.set()
        self._inbox.wake()

    def work(self) -> None:
        try:
            while self._step():
                pass
        finally:
            self.results.put(None)  # whatever ends it: nothing comes any more

    def _step(self) -> bool:
        """Answer questions and detect in what is there; gives whether there will be more."""
        self.beat = time.monotonic()
        self._answer()
        ending = self._finish.is_set()  # asked before taking: what came earlier is not left behind
        frames = self._inbox.take(BATCH, timeout=0.0 if ending else 0.5)
        if frames:
            self.results.put(self._batch(frames))
        return bool(frames) or not ending

    def _answer(self) -> None:
        while not self._questions.empty():
            question, future = self._questions.get()
            if not future.set_running_or_notify_cancel():  # nobody waits for the answer any more
                continue
            try:
                future.set_result(question())
            except VisionLoraError as error:
                future.set_exception(error)

    def detect(self, pictures: Sequence[NDArray[np.uint8]], choice: Choice) -> list[Detections]:
        """Detect with a choice's adapter and mode, in this thread.

        Args:
            pictures: (H, W, 3) uint8 RGB each.
            choice: what to detect with, down to its floor.
        """
        self._attached.use(choice.adapter)
        side = self._imgsz or self._attached.imgsz(choice.adapter)
        readout = Readout(confidence=choice.floor, iou=self._iou)
        return self._attached.detector.predict(pictures, side, mode=choice.mode, readout=readout)

    def _batch(self, frames: Sequence[Frame]) -> list[DetectedFrame]:
        """Sources that are watched with the same share a batch."""
        groups: Mapping[Any, list[Frame]] = defaultdict(list)
        for frame in frames:
            choice = self.choices[frame.source]
            groups[choice.adapter, choice.mode, choice.floor].append(frame)
        results = []
        for members in groups.values():
            pictures = [frame.picture() for frame in members]
            found = self.detect(pictures, self.choices[members[0].source])
            results += [
                DetectedFrame(frame, picture, detections, self.choices[frame.source])
                for frame, picture, detections in zip(members, pictures, found, strict=True)
            ]
        return results
