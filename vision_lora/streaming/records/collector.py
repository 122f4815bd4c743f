"""Pictures that are worth a label, on disk, for `propose`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import OutputError, reason
from vision_lora.pictures.images import write_picture
from vision_lora.streaming.detecting import DetectedFrame
from vision_lora.streaming.records.aside import Aside
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.records.segments import file_stamp
from vision_lora.streaming.records.telling import Telling, TellingFrames
from vision_lora.streaming.sources.inbox import Frame
from vision_lora.streaming.trouble import Trouble

NAME = r"\d{8}T\d{9}Z-[\w.-]+-(unsure|flicker|random)\.jpg"


class Collector(Aside[Telling]):
    """Keeps the pictures that `TellingFrames` chooses, without boxes drawn on them.

    Args:
        folder: where they go, as `TIME-SOURCE-REASON.jpg`.
        sources: names of the sources.
        dropped: told the source and `collecting` for each picture that could not be kept.
    """

    def __init__(self, folder: BoundedFolder, sources: Iterable[str], dropped: Callable[[str, str], None]) -> None:
        super().__init__("collector", "collecting", dropped)
        self._folder = folder
        self._telling = {source: TellingFrames() for source in sources}
        self._refusal = Trouble(folder.folder)

    def look(self, detected: DetectedFrame, tracks: NDArray[np.int64], thresholds: NDArray[np.float64]) -> None:
        """Keep a picture where it is worth it, see `TellingFrames.look`."""
        if (told := self._telling[detected.frame.source].look(detected, tracks, thresholds)) is not None:
            self.hand_over(told.detected.frame, told)

    def write(self, frame: Frame, item: Telling) -> bool:
        file = self._free(frame, item)
        try:
            write_picture(file, item.detected.picture)
            self._folder.added(file)
        except (OutputError, OSError) as error:
            self._refusal.told(f"pictures are not collected ({reason(error)})")
            return False
        self._refusal.over()
        return True

    def _free(self, frame: Frame, item: Telling) -> Path:
        """A path for a new picture: a clock that was set back must not replace what it showed the first time."""
        at = frame.at
        while (path := self._folder.folder / f"{file_stamp(at)}-{frame.source}-{item.reason}.jpg").exists():
            at += 0.001
        return path
