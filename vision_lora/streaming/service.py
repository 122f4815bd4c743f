"""Sources, detector and sinks wired up: everything that `camera` runs, and the page shows and changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vision_lora.detectors.base import Detector
from vision_lora.errors import ConfigError, VisionLoraError
from vision_lora.options.camera import CameraConfig
from vision_lora.pictures.detections import default_mode
from vision_lora.streaming.alarms.watch import Watch
from vision_lora.streaming.choices.attached import SPARE, Attached
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.choices.registry import AdapterRegistry
from vision_lora.streaming.choices.state import StateFile
from vision_lora.streaming.detecting import Detecting
from vision_lora.streaming.incoming import shown
from vision_lora.streaming.judging import Judging
from vision_lora.streaming.records.aside import Aside
from vision_lora.streaming.records.collector import NAME as COLLECTED_NAME
from vision_lora.streaming.records.collector import Collector
from vision_lora.streaming.records.crops import Crops
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.records.events import EventLog
from vision_lora.streaming.records.journal import Journal
from vision_lora.streaming.records.segments import NAME as SEGMENT_NAME
from vision_lora.streaming.records.segments import Recorder
from vision_lora.streaming.settings import SourceSettings
from vision_lora.streaming.sources.feed import check_protocol
from vision_lora.streaming.sources.inbox import Inbox
from vision_lora.streaming.sources.reader import FileReader, LiveReader, Patience, Reader
from vision_lora.streaming.sources.source import open_files
from vision_lora.streaming.sources.stats import Reading, Stats
from vision_lora.streaming.view import View
from vision_lora.streaming.worker import Worker
from vision_lora.system.signals import Stop
from vision_lora.text.names import told

log = logging.getLogger(__name__)

Health = Literal["ok", "degraded", "failing"]

GB = 1e9
CROP_NAME = r"\d{8}T\d{9}Z-[\w.-]+\.jpg"
STUCK = 30.0  # seconds without a sign of life from the detector
ANSWER = 30.0  # seconds that a change may take
GOODBYE = 5.0  # seconds for a thread to end


class Service:
    """Watches sources until all have ended, or until it is stopped.

    Args:
        config: options.
        sources: what `read_sources` made of them.
        detector: without adapters.

    Raises:
        VisionLoraError: a file, folder or adapter cannot be used.
    """

    def __init__(self, config: CameraConfig, sources: list[SourceSettings], detector: Detector) -> None:
        self.began = time.monotonic()
        self.sources = {source.name: source for source in sources}
        self.stats = {name: Stats() for name in self.sources}
        self.view = View()
        self.registry = AdapterRegistry(
            None if config.adapters is None else Path(config.adapters),
            [source.adapter for source in sources if source.adapter is not None],
        )
        own = [Path(folder) for folder in (config.crops, config.segments, config.collect) if folder is not None]
        files = {
            source.name: open_files(source.address.target, results=own) for source in sources if not source.address.live
        }
        for source in sources:
            check_protocol(source.address)
        for given in files.values():
            if len(given.files) == 1:  # where it cannot be read, nothing has been begun
                next(iter(given))
        self.attached = Attached(detector, self.registry)
        self._state = StateFile(None if config.events is None else Path(config.events).with_suffix(".state.json"))
        choices = {source.name: self._first_choice(source) for source in sources}
        self._attach_spares()
        with ExitStack() as undo:  # last, as what is made here stays; where one of them cannot be made, none does
            events = None if config.events is None else EventLog(Path(config.events))
            if events is not None:
                undo.callback(events.undo)
            crops = _folder("crops", config.crops, CROP_NAME, config, undo)
            segments = _folder("segments", config.segments, SEGMENT_NAME, config, undo)
            collected = _folder("collect", config.collect, COLLECTED_NAME, config, undo)
            undo.pop_all()
        self.journal = Journal(events)
        self.crops = Crops(crops)
        recorder = None if segments is None else Recorder(segments, self._dropped)
        collector = None if collected is None else Collector(collected, self.sources, self._dropped)
        self._aside: list[Aside[Any]] = [writer for writer in (recorder, collector) if writer is not None]
        self._changing = threading.Lock()
        inbox = Inbox({source.name: source.address.live for source in sources}, self._dropped)
        self._inbox = inbox
        self.detecting = Detecting(self.attached, choices, inbox, imgsz=config.imgsz, iou=config.iou)
        watches = {source.name: Watch(source.zones, config.min_frames) for source in sources}
        self.judging = Judging(
            self.detecting.results, watches, self.stats, self.journal, self.crops, self.view, recorder, collector
        )
        patience = Patience(config.timeout, config.max_backoff, config.freeze)
        self._readers: list[Reader] = [
            FileReader(name, files[name], inbox, self.stats[name], self.journal.tell)
            if name in files
            else LiveReader(name, source.address, patience, inbox, self.stats[name], self.journal.tell)
            for name, source in self.sources.items()
        ]

    def run(self, stop: Stop, started: Callable[[], None] = lambda: None) -> int:
        """Watch.

        Args:
            stop: ends it when set.
            started: called when the first picture can be detected.

        Returns:
            0; or 1 where a source gave no picture at all, or events could not be written.

        Raises:
            VisionLoraError: a file that is the only one of its source cannot be read.
        """
        workers: list[Worker] = [self.detecting, self.judging, *self._aside]
        for worker in workers:
            worker.start()
        try:
            warm = self.detecting.ask(self._warm_up)
            while not warm.done() and not stop.wait(0.02):
                self.detecting.check()
            if warm.done():
                warm.result()
                shown_as = {name: source.address.shown for name, source in self.sources.items()}
                self.journal.tell("started", sources=shown_as)
                for reader in self._readers:
                    reader.start()
                started()
            while not stop.wait(0.2) and any(reader.alive for reader in self._readers):
                for worker in (*workers, *self._readers):
                    worker.check()
                self.journal.flush()
        finally:
            self._end()
        for worker in (*workers, *self._readers):
            worker.check()
        silent = [name for name, stats in self.stats.items() if not stats.read().connects]
        if silent:
            log.error("no picture came from: %s", ", ".join(silent))
        return int(bool(silent) or self.journal.trouble)

    def change(self, name: str, **changes: Any) -> Choice:
        """Watch a source with something else from its next picture on; nothing has changed where this raises.

        Args:
            name: of the source.
            changes: any of `adapter`, `mode`, `confidence` and `thresholds`, see `Choice`.

        Raises:
            ConfigError: no such source, no such choice, no such class; or the detector takes too long.
            AdapterError: no such adapter, or one that is broken or was made for another base.
        """
        if name not in self.sources:
            raise ConfigError(f"no source {shown(name)} here (there are: {', '.join(self.sources)})")
        with self._changing:
            before = self.detecting.choices[name]
            if "adapter" in changes and before.mode == default_mode(before.adapter):  # as nobody chose another
                changes.setdefault("mode", default_mode(changes["adapter"]))
            choice = replace(before, **changes)
            loaded = None if choice.adapter is None else self.attached.load(choice.adapter)
            card = loaded[1].card if loaded and loaded[1] else self.attached.card(choice.adapter)
            learned = () if card is None else card.names
            choice = replace(choice, own={} if card is None else card.thresholds)
            known = {*self.attached.detector.names, *learned, *before.thresholds, *self.sources[name].choice.thresholds}
            if strange := [kind for kind in choice.thresholds if kind not in known]:
                raise ConfigError(f"threshold of {shown(strange[0])}: neither the base nor the adapter has this class")

            def switch() -> None:
                if choice.adapter is not None and loaded is not None:
                    self.attached.put_on(choice.adapter, *loaded)
                self.detecting.choices[name] = choice
                self.attached.tidy({other.adapter for other in self.detecting.choices.values() if other.adapter})

            switched = self.detecting.ask(switch)
            if not wait([switched], ANSWER).done and switched.cancel():
                raise ConfigError(f"the detector did not answer within {ANSWER:g} s: nothing changed; try again")
            switched.result()
            self.journal.tell("switched", name, **choice.as_dict())
            self._state.remember(
                {key: (self.sources[key].choice, present) for key, present in self.detecting.choices.items()}
            )
        return choice

    def readings(self) -> dict[str, Reading]:
        """All numbers of all sources."""
        return {name: stats.read() for name, stats in self.stats.items()}

    def health(self) -> Health:
        """`failing`: no result will come any more, or events are not written; `degraded`: a source gives no picture."""
        workers: list[Worker] = [self.detecting, self.judging]
        stuck = time.monotonic() - self.detecting.beat > STUCK
        if stuck or self.journal.trouble or not all(worker.alive for worker in workers):
            return "failing"
        states = {reading.state for reading in self.readings().values()}
        return "ok" if states <= {"live", "ended"} else "degraded"

    def _first_choice(self, source: SourceSettings) -> Choice:
        """What a source is watched with in the beginning, its adapter attached."""
        recalled = self._state.recall(source.name, source.choice)
        if recalled != source.choice and recalled.adapter is not None:
            if (error := self._unusable(recalled.adapter)) is None:
                return self._with_own(recalled)
            log.warning("%s: what was chosen on the page cannot be used any more: %s", source.name, error)
            return self._with_adapter(source.choice)
        return self._with_adapter(recalled)

    def _attach_spares(self) -> None:
        """Attach what the page offers, so that the first switch costs no time either."""
        for name in self.registry.names()[:SPARE]:
            if (error := self._unusable(name)) is not None:
                log.warning("cannot be switched to: %s", error)

    def _unusable(self, name: str) -> VisionLoraError | None:
        """Attach an adapter; gives why that cannot be."""
        try:
            self.attached.put_on(name, *self.attached.load(name))
        except VisionLoraError as error:
            return error
        return None

    def _with_adapter(self, choice: Choice) -> Choice:
        if choice.adapter is not None:
            self.attached.put_on(choice.adapter, *self.attached.load(choice.adapter))
        general, learned = self.attached.detector.names, self.attached.classes(choice.adapter)
        known = (*general, *learned)
        if unknown := [name for name in choice.thresholds if name not in known]:
            log.warning("threshold of %s: neither the base nor the adapter has such a class", told(unknown, known))
        idle = [name for name in choice.thresholds if name in general and name not in learned]
        if idle and choice.mode == "defects":
            log.warning("threshold of %s: only the base has such a class; mode both looks for it", ", ".join(idle))
        return self._with_own(choice)

    def _with_own(self, choice: Choice) -> Choice:
        """A choice with the thresholds on its attached adapter's card."""
        card = self.attached.card(choice.adapter)
        return choice if card is None else replace(choice, own=card.thresholds)

    def _warm_up(self) -> None:
        """Let every adapter detect once before the first picture waits for it."""
        picture = np.zeros((64, 64, 3), np.uint8)
        for choice in [*self.detecting.choices.values(), *(Choice(name, "both", 1.0) for name in self.attached.names)]:
            self.detecting.detect([picture], choice)

    def _dropped(self, source: str, cause: str) -> None:
        self.stats[source].dropped(cause)

    def _end(self) -> None:
        """Let everything finish what it has begun, each within its time."""
        ended = not any(reader.alive for reader in self._readers)
        for reader in self._readers:
            reader.stop()
        if not ended:
            self._inbox.close()
        deadline = time.monotonic() + GOODBYE
        late = [reader.source for reader in self._readers if not reader.join(max(0.0, deadline - time.monotonic()))]
        if late:
            log.warning("not waited for, hanging in a read: %s", ", ".join(late))
        self.detecting.finish()
        self.detecting.join(GOODBYE)
        self.judging.join(GOODBYE)
        for writer in self._aside:
            writer.stop()
        for writer in self._aside:
            writer.join(GOODBYE)
        self.journal.tell("stopped", alarms=sum(sum(read.alarms.values()) for read in self.readings().values()))
        self.journal.close()


def _folder(option: str, path: str | None, pattern: str, config: CameraConfig, undo: ExitStack) -> BoundedFolder | None:
    if path is None:
        return None
    folder = BoundedFolder(option, Path(path), pattern, config.keep_gb * GB)
    undo.callback(folder.undo)
    return folder
