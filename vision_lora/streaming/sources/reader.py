"""One thread a source: reads it, and for a live one connects again for ever."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.streaming.sources.address import Address
from vision_lora.streaming.sources.backoff import Backoff
from vision_lora.streaming.sources.feed import FeedLost, RawFrame, open_feed
from vision_lora.streaming.sources.freeze import FreezeWatch
from vision_lora.streaming.sources.inbox import Frame, Inbox
from vision_lora.streaming.sources.source import FileSource
from vision_lora.streaming.sources.stats import Stats
from vision_lora.streaming.worker import Worker

log = logging.getLogger(__name__)

Tell = Callable[..., object]

SCENE_GAP = 60.0  # seconds on a source's clock between two files


@dataclass(frozen=True)
class Patience:
    """Time limits of live sources, seconds.

    Args:
        timeout: without a picture, until the connection counts as lost; also for connecting.
        max_backoff: longest wait before the next try.
        freeze: with the same picture, until the feed counts as frozen.
    """

    timeout: float = 5.0
    max_backoff: float = 5.0
    freeze: float = 10.0


class Reader(Worker):
    """Reads one source into the inbox.

    Args:
        name: of the source.
        inbox: where pictures go.
        stats: what to count in.
        tell: given what happens to the source, as a kind and its details.
    """

    def __init__(self, name: str, inbox: Inbox, stats: Stats, tell: Tell) -> None:
        super().__init__(f"reader {name}")
        self.source = name
        self.inbox = inbox
        self.stats = stats
        self._tell = tell
        self._stopping = threading.Event()
        self._number = 0

    def stop(self) -> None:
        """Ask it to end. A read in progress may last until its time limit, so nobody should wait for long."""
        self._stopping.set()


class LiveReader(Reader):
    """Reads a live source: connects, hands each picture on, notices frozen pictures, connects again.

    Args:
        address: of the source.
        patience: its time limits.
    """

    def __init__(self, name: str, address: Address, patience: Patience, inbox: Inbox, stats: Stats, tell: Tell) -> None:
        super().__init__(name, inbox, stats, tell)
        self.address = address
        self.patience = patience
        self._life = uuid.uuid4().hex

    def work(self) -> None:
        backoff = Backoff(self.patience.max_backoff)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._watch()
            except FeedLost as lost:
                self._lost(lost.cause)
            # A camera that takes connections only to drop them must not be asked ten times a second.
            if time.monotonic() - began > max(self.patience.max_backoff, 1.0):
                backoff.reset()
            self._stopping.wait(backoff.wait())

    def _watch(self) -> None:
        """Hand on the pictures of one connection until it ends.

        Raises:
            FeedLost: it ended, or could not be made.
        """
        feed = open_feed(self.address, self.patience.timeout, self.stats.dropped)
        try:
            watch, first = FreezeWatch(self.patience.freeze), True
            for raw in feed:
                if self._stopping.is_set():
                    return
                if first:
                    self._connected(raw)
                    first = False
                if watch.due(raw.captured):
                    self._judge(frozen=watch.see(raw.checksum(), raw.captured))
                self._hand_on(raw)
        finally:
            feed.close()

    def _hand_on(self, raw: RawFrame) -> None:
        if self.stats.received(raw.size):
            self._tell("resized", self.source, size=list(raw.size))
        self.inbox.put(
            Frame(
                source=self.source,
                number=self._number,
                captured=raw.captured,
                at=time.time(),
                clock=raw.captured,
                size=raw.size,
                picture=raw.picture,
                key=f"{self._life}/{self._number}",
            )
        )
        self._number += 1

    def _connected(self, raw: RawFrame) -> None:
        self.stats.connected()
        if self.stats.enter("live"):
            log.warning("%s: live, %d x %d (%s)", self.source, *raw.size, self.address.shown)
            self._tell("live", self.source, size=list(raw.size))

    def _judge(self, *, frozen: bool) -> None:
        if self.stats.enter("frozen" if frozen else "live"):
            if frozen:
                log.warning("%s: the same picture for %g s", self.source, self.patience.freeze)
            self._tell("frozen" if frozen else "moving", self.source)

    def _lost(self, cause: str) -> None:
        self.stats.lost(cause)
        if self.stats.enter("lost"):  # the first of many tries is news, the others are numbers
            log.warning("%s: lost: %s (%s)", self.source, cause, self.address.shown)
            self._tell("lost", self.source, cause=cause)


class FileReader(Reader):
    """Reads pictures and videos from disk, every frame in order, and ends.

    Args:
        files: what to read.
    """

    def __init__(self, name: str, files: FileSource, inbox: Inbox, stats: Stats, tell: Tell) -> None:
        super().__init__(name, inbox, stats, tell)
        self.files = files

    def work(self) -> None:
        began, clock, name = 0.0, 0.0, ""
        for line in self.files.left_out:
            log.warning("%s: not read: %s", self.source, line)
        for read in self.files:
            if read.name != name:
                # A new scene: later than whatever a tracker still remembers.
                began, name = clock + SCENE_GAP, read.name
                stamp = _stamp(self.files.root / name)
            clock = began + (0.0 if read.index is None else read.index / read.fps)
            height, width = read.picture.shape[:2]
            frame = Frame(
                source=self.source,
                number=self._number,
                captured=time.monotonic(),
                at=time.time(),
                clock=clock,
                size=(width, height),
                picture=_given(read.picture),
                key=f"{name} {stamp} {read.index}",
                file=name,
                alone=read.index is None,
            )
            self.stats.received(frame.size)
            if self._number == 0:
                self.stats.connected()
                self.stats.enter("live")
            if not self.inbox.put(frame):
                return
            self._number += 1
        for problem in self.files.problems:
            self.stats.dropped("unreadable")
            log.warning("%s: skipped %s", self.source, problem)
        self.stats.enter("ended")
        self._tell("ended", self.source, pictures=self._number)


def _given(picture: NDArray[np.uint8]) -> Callable[[], NDArray[np.uint8]]:
    return lambda: picture


def _stamp(file: Path) -> str:
    """Size and time of change: another recording under the same name is another file. Empty where it has just gone."""
    try:
        about = file.stat()
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"
