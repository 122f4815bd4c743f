"""Annotated copies of pictures and videos."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path, PurePosixPath

from vision_lora.errors import ConfigError, FormatError
from vision_lora.pictures.detections import Detections
from vision_lora.pictures.drawing import draw_detections
from vision_lora.pictures.images import write_picture
from vision_lora.pictures.videos import VIDEO_SUFFIXES, VideoFile
from vision_lora.streaming.sources.source import FileFrame, FileSource
from vision_lora.system.outputs import plain
from vision_lora.text.names import shown

_KEPT = (".jpg", ".jpeg", ".png")  # every other picture becomes a PNG, which takes any
_LONGEST = 255  # bytes of a file's name on common file systems


class AnnotatedFolder:
    """Writes each picture, and each video, with the boxes drawn on it.

    Args:
        folder: an existing folder; the sources' own subfolders are made in it.
        source: what will be detected in: each of its files gets a copy of its own.

    Attributes:
        problems: copies that could not be made, or not as their source is, one line each.

    Raises:
        ConfigError: a copy would lie among the sources, or in the place of one.
    """

    def __init__(self, folder: Path, source: FileSource) -> None:
        names = copy_names(source.name(file) for file in source.files)
        self._targets = {name: folder / copy for name, copy in names.items()}
        self.problems: list[str] = []
        self._video: tuple[str, VideoFile] | None = None
        self._refused = ""
        sources = {os.path.realpath(file) for file in source.files}
        among = os.path.realpath(folder) in {os.path.dirname(file) for file in sources}
        if among or any(os.path.realpath(target) in sources for target in self._targets.values()):
            raise ConfigError(f"--out {folder}: the pictures to detect in are there; give another folder")

    def write(self, frame: FileFrame, found: Detections) -> None:
        """Draw and write one frame; frames of a video have to come in order.

        Raises:
            OutputError: there is no place for it.
        """
        target = self._targets[frame.name]
        target.parent.mkdir(parents=True, exist_ok=True)
        annotated = draw_detections(frame.picture, found)
        try:
            if frame.index is None:
                write_picture(target, annotated)
            elif frame.name != self._refused:
                self._file(frame, target).write(annotated)
        except FormatError as error:
            self.problems.append(f"no copy: {error}")
            self._refused = frame.name

    def close(self) -> None:
        """Finish the video that is being written.

        Raises:
            OutputError: there is no place for it.
        """
        if self._video is not None:
            video, self._video = self._video[1], None
            video.close()

    def _file(self, frame: FileFrame, target: Path) -> VideoFile:
        if self._video is None or self._video[0] != frame.name:
            self.close()
            self._video = (frame.name, VideoFile(target, frame.fps))
            if abs((rate := self._video[1].rate) - frame.fps) > 0.01 * frame.fps:
                self.problems.append(f"{shown(str(target))} has {rate:g} frames a second: no MP4 takes {frame.fps:g}")
        return self._video[1]


def copy_names(names: Iterable[str]) -> dict[str, str]:
    """Names for the copies of files: readable, in a format that takes any picture, and each another one.

    A JPEG and a PNG keep their name; `.png` is put behind that of any other picture, `.mp4` behind a video's.

    Args:
        names: of the files, relative, with `/`.

    Returns:
        The copy's name by the file's.

    Examples:
        >>> list(copy_names(["a.jpg", "a.pgm", "b/a.jpg", "a.avi", "a.pgm.png"]).items())[3:]
        [('a.pgm', 'a.pgm-2.png'), ('a.avi', 'a.avi.mp4')]
    """
    taken = set[str]()
    copies = dict[str, str]()
    for name in sorted(names, key=lambda name: not name.lower().endswith(_KEPT)):  # those that keep theirs come first
        path = PurePosixPath(*map(plain, PurePosixPath(name).parts))
        wanted = (".mp4",) if path.suffix.lower() in VIDEO_SUFFIXES else _KEPT
        kept = path.suffix.lower() in wanted
        ending, stem = (path.suffix, path.stem) if kept else (wanted[-1], path.name)
        for number in count(1):
            tail = f"-{number}{ending}" if number > 1 else ending
            copy = str(path.with_name(stem.encode()[: _LONGEST - len(tail)].decode(errors="ignore") + tail))
            if copy.casefold() not in taken:  # some file systems do not tell A from a
                break
        taken.add(copy.casefold())
        copies[name] = copy
    return copies
