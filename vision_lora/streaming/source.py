"""Sources of pictures: a file, a folder, a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import DataError
from vision_lora.images import IMAGE_SUFFIXES, read_image

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Args:
        name: file name, relative to the source where that is a folder.
        picture: (H, W, 3) uint8 RGB.
        index: frame number in a video, from 0; None for a picture file.
        fps: frames a second of the video; 0 for a picture file.
    """

    name: str
    picture: NDArray[np.uint8]
    index: int | None = None
    fps: float = 0.0


@dataclass
class FileSource:
    """Pictures and videos on disk, every frame in order.

    Attributes:
        files: what will be read.
        problems: pictures that could not be read, one line each, filled while iterating.
    """

    root: Path
    files: Sequence[Path]
    problems: list[str]

    def __iter__(self) -> Iterator[Frame]:
        for file in self.files:
            name = file.relative_to(self.root).as_posix()
            try:
                if file.suffix.lower() in VIDEO_SUFFIXES:
                    yield from _video_frames(file, name)
                else:
                    yield Frame(name, read_image(file))
            except DataError as error:
                if len(self.files) == 1:
                    raise
                self.problems.append(str(error))


def open_files(source: str) -> FileSource:
    """A picture, a video, or a folder of them with its subfolders, in the order of their names.

    Raises:
        DataError: nothing there, or nothing that is a picture or a video.
    """
    path = Path(source)
    if path.is_file():
        if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise DataError(f"{source}: neither picture nor video by its ending; expected one, or a folder of them")
        return FileSource(path.parent, [path], [])
    if not path.is_dir():
        raise DataError(f"{source}: no such file or folder; expected a picture, a video, or a folder of them")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if not files:
        raise DataError(f"{source}: no picture and no video in this folder")
    return FileSource(path, files, [])


def _video_frames(file: Path, name: str) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(file))
    try:
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        index = 0
        while True:
            there, picture = capture.read()
            if not there:
                break
            yield Frame(name, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8), index, fps)
            index += 1
        if index == 0:
            raise DataError(f"{file}: not a readable video; expected one that OpenCV decodes")
    finally:
        capture.release()
