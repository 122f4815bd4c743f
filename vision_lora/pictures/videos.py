"""Videos on disk: every frame that can be decoded, and how many cannot; MP4s that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import DataError, FormatError, OutputError, reason
from vision_lora.system.outputs import partial_file
from vision_lora.text.names import shown

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})

PATIENCE = 1000  # reads that fail, one a frame, until the video counts as ended: about 20 ms
SLOWEST, FASTEST = 0.01, 1000.0  # frames a second that an MP4 is written with


class Video:
    """A video file, read from its beginning to its end.

    OpenCV gets an open file instead of a name: names that are no UTF-8 end the process, those with `%` are taken as the
    pattern of many files.

    Args:
        path: the file.

    Attributes:
        fps: frames a second, as the file says, or 25.
        frames: how many there are, as far as it was read: the broken ones among them too.
        broken: how many of these could not be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fps = 25.0
        self.frames = 0
        self.broken = 0

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Number, from 0, and picture, (H, W, 3) uint8 RGB, of each frame.

        Raises:
            DataError: it cannot be opened, or no frame can be decoded.
        """
        try:
            with self.path.open("rb") as file:
                yield from self._frames(_capture(file))
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({reason(error)})") from None

    def _frames(self, capture: cv2.VideoCapture) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        try:
            announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            rate = capture.get(cv2.CAP_PROP_FPS)
            self.fps = rate if 0 < rate < float("inf") else 25.0
            place, decoded, seconds = 0, 0, 0.0
            while capture.isOpened() and place < self.frames + PATIENCE:
                there, picture = capture.read()
                place += 1
                if there:
                    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    self.frames, decoded = place, decoded + 1
                    yield place - 1, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
            # Of frames at an uneven rate, the number that a file announces is a guess from its duration.
            if abs(seconds * self.fps - (self.frames - 1)) < 1 and announced < float("inf"):
                self.frames = max(self.frames, int(announced))
            self.broken = self.frames - decoded
        finally:
            capture.release()
        if not decoded:
            raise DataError(f"{self.path}: not a readable video; expected one that OpenCV decodes")


class VideoFile:
    """An MP4 (MPEG-4 part 2) that is there once it is closed, and proved to hold every frame.

    In a `with` that ends with an error, it is discarded.

    Args:
        path: the file, which ends in `.mp4`.
        fps: frames a second; `rate` is what is written, the nearest that the format takes.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.rate = writable_rate(fps)
        self._partial = partial_file(path, ".mp4")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Add a frame.

        Args:
            picture: (H, W, 3) uint8 RGB; the first one's size is the video's, made even, others are brought to it.

        Raises:
            FormatError: no MP4 has frames of this size.
            OutputError: it cannot be written.
        """
        height, width = picture.shape[:2]
        if self._writer is None:
            self._size = (width + width % 2, height + height % 2)
            self._writer = self._opened()
        frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        right, below = self._size[0] - width, self._size[1] - height
        if (right, below) in ((0, 0), (0, 1), (1, 0), (1, 1)):
            frame = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE)
        else:  # OpenCV would leave it out
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(frame)
        self._frames += 1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Leave nothing."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish it; without a frame there is nothing.

        Raises:
            OutputError: the disk did not take all of it.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if _frames_of(self._partial) != self._frames:
                raise OutputError(f"{shown(str(self.path))}: cannot be written whole; is the disk full?")
            self._partial.replace(self.path)
        except OSError as error:
            raise OutputError(f"{shown(str(self.path))}: cannot be written ({reason(error)})") from error
        finally:
            self._partial.unlink(missing_ok=True)

    def _opened(self) -> cv2.VideoWriter:
        try:
            self._partial.write_bytes(bytes(4096))  # OpenCV does not tell a full disk from a format
            with tempfile.TemporaryDirectory() as way:
                name = str(self._partial)
                if name != os.fsencode(name).decode("utf-8", "replace"):  # it would end the process
                    Path(way, "to").symlink_to(self._partial.parent.absolute())
                    name = str(Path(way, "to", self._partial.name))
                writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), self.rate, self._size)
        except OSError as error:
            self._partial.unlink(missing_ok=True)
            raise OutputError(f"{shown(str(self.path))}: cannot be written ({reason(error)})") from error
        if not writer.isOpened():
            self._partial.unlink(missing_ok=True)
            raise FormatError(
                f"{shown(str(self.path))}: OpenCV writes no MP4 of {self._size[0]} x {self._size[1]} pixels"
            )
        return writer


def writable_rate(fps: float) -> float:
    """The nearest rate that MPEG-4 part 2 takes: in whole parts of a second, of which there are at most 65,535.

    Examples:
        >>> writable_rate(29.97), writable_rate(211.222), writable_rate(90000.0)
        (29.97, 211.22, 1000.0)
    """
    rate = min(max(fps, SLOWEST), FASTEST)
    return next(rounded for digits in (3, 2, 1) if (rounded := round(rate, digits)) * 10**digits <= 65535)


def _capture(file: BufferedReader) -> cv2.VideoCapture:
    return cv2.VideoCapture(cast("cv2.IStreamReader", file), cv2.CAP_FFMPEG, [])  # any file will do, typed or not


def _frames_of(path: Path) -> int:
    """How many frames a finished file announces; none where it is none."""
    with path.open("rb") as file:
        capture = _capture(file)
        try:
            return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        finally:
            capture.release()
