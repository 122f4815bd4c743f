"""Annotated video of each source in pieces of a minute, as MP4 that also plays after the power was cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vision_lora.pictures.detections import Detections
from vision_lora.pictures.drawing import draw_detections
from vision_lora.streaming.records.aside import Aside
from vision_lora.streaming.records.disk import BoundedFolder
from vision_lora.streaming.sources.inbox import Frame
from vision_lora.streaming.trouble import Trouble

SECONDS = 60.0  # of a segment
RETRY = 5.0  # seconds until a source that could not be recorded is tried again
TICK = 1000  # time stamps a second
NAME = r"\d{8}T\d{9}Z-[\w.-]+\.mp4"
CODEC = "libx264" if "libx264" in av.codecs_available else "mpeg4"
# Each fragment is complete in itself and is written at once: a kill costs the last second at most.
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
CODEC_OPTIONS = (
    {"preset": "ultrafast", "tune": "zerolatency", "crf": "26", "threads": "1"} if CODEC == "libx264" else {}
)


class Recorder(Aside[tuple[NDArray[np.uint8], Detections]]):
    """Draws, encodes and writes in a thread of its own.

    Args:
        folder: where segments go, as `TIME-SOURCE.mp4`.
        dropped: told the source and `recording` for each picture that is not recorded.
    """

    def __init__(self, folder: BoundedFolder, dropped: Callable[[str, str], None]) -> None:
        super().__init__("recorder", "recording", dropped)
        self._folder = folder
        self._open: dict[str, _Segment] = {}
        self._again: dict[str, float] = {}  # when a source that failed is tried again
        self._refusals: dict[str, Trouble] = {}

    def record(self, frame: Frame, picture: NDArray[np.uint8], found: Detections) -> None:
        """Record a picture, see `hand_over`.

        Args:
            frame: the picture as it came.
            picture: (H, W, 3) uint8 RGB.
            found: what is drawn on it.
        """
        self.hand_over(frame, (picture, found))

    def write(self, frame: Frame, item: tuple[NDArray[np.uint8], Detections]) -> bool:
        if time.monotonic() < self._again.get(frame.source, 0.0):
            return False
        if self._tried(frame.source, partial(self._write, frame, draw_detections(*item))):
            return True
        self._again[frame.source] = time.monotonic() + RETRY
        return False

    def close(self) -> None:
        for source in list(self._open):
            self._tried(source, partial(self._finish, source))

    def _tried(self, source: str, step: Callable[[], None]) -> bool:
        """Do something with a source's file; where that fails the file ends, and detection goes on without it."""
        refusal = self._refusals.setdefault(source, Trouble(f"segments: {source}"))
        try:
            step()
        except (OSError, av.error.FFmpegError) as error:
            # Never the error's own words alone: what matters is that detection goes on without the recording.
            refusal.told(f"not recorded ({type(error).__name__}); tried again every {RETRY:g} s")
            if (segment := self._open.pop(source, None)) is not None:
                with suppress(OSError, av.error.FFmpegError):
                    self._end(segment)
            return False
        refusal.over()
        return True

    def _write(self, frame: Frame, picture: NDArray[np.uint8]) -> None:
        segment = self._open.get(frame.source)
        if segment is not None and not segment.takes(frame, picture):
            self._finish(frame.source)
            segment = None
        if segment is None:
            segment = self._open[frame.source] = _Segment(self._free(frame), frame, picture)
        segment.write(frame, picture)

    def _free(self, frame: Frame) -> Path:
        """A path for a new segment: a clock that was set back must not replace what it showed the first time."""
        at = frame.at
        while (path := self._folder.folder / f"{file_stamp(at)}-{frame.source}.mp4").exists():
            at += 0.001
        return path

    def _finish(self, source: str) -> None:
        self._end(self._open.pop(source))

    def _end(self, segment: _Segment) -> None:
        try:
            segment.close()
        finally:
            if segment.path.stat().st_size:
                self._folder.added(segment.path)
            else:
                segment.path.unlink()  # a full disk: each try would leave one behind


class _Segment:
    """One file. It is written in fragments that are complete in themselves: a kill loses the last second at most."""

    def __init__(self, path: Path, frame: Frame, picture: NDArray[np.uint8]) -> None:
        self.path = path
        self._began = frame.clock
        self._shape = picture.shape
        self._keyframe_at = float("-inf")
        self._last = -1
        self._file = av.open(str(path), "w", format="mp4", options=FRAGMENTS)
        stream = self._file.add_stream(CODEC, options=CODEC_OPTIONS)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = (side - side % 2 for side in picture.shape[:2])  # H.264 halves the colours
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICK)
        self._stream = stream

    def takes(self, frame: Frame, picture: NDArray[np.uint8]) -> bool:
        """Whether a picture still belongs into this file."""
        return picture.shape == self._shape and 0 <= frame.clock - self._began < SECONDS

    def write(self, frame: Frame, picture: NDArray[np.uint8]) -> None:
        encoded = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(picture[: self._stream.height, : self._stream.width]), format="rgb24"
        )
        # Time stamps have to grow, also where two pictures came within one tick.
        self._last = encoded.pts = max(self._last + 1, round((frame.clock - self._began) * TICK))
        encoded.time_base = Fraction(1, TICK)
        if frame.clock - self._keyframe_at >= 1:
            encoded.pict_type = PictureType.I
            self._keyframe_at = frame.clock
        self._file.mux(self._stream.encode(encoded))

    def close(self) -> None:
        try:
            self._file.mux(self._stream.encode(None))
        finally:
            self._file.close()


def file_stamp(at: float) -> str:
    """A moment, seconds since 1970, as part of a file name that sorts by age.

    Examples:
        >>> file_stamp(1.5)
        '19700101T000001500Z'
    """
    moment = datetime.fromtimestamp(at, timezone.utc)
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z"
