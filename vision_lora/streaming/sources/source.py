"""Sources of pictures: a file, a folder, a video, the pictures of a COCO file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.formats.coco import coco_pictures
from vision_lora.datasets.formats.paths import is_there
from vision_lora.errors import DataError, reason
from vision_lora.pictures.images import IMAGE_SUFFIXES, read_image
from vision_lora.pictures.videos import VIDEO_SUFFIXES, Video
from vision_lora.system.files import irregular


@dataclass(frozen=True, eq=False)
class FileFrame:
    """One picture of a source.

    Args:
        name: file name, relative to the source where that is a folder.
        picture: (H, W, 3) uint8 RGB.
        index: frame number in a video, from 0; None for a picture file.
        fps: frames a second of the video; 0 for a picture file.
        image_id: what COCO's forms call it: the id that the source's COCO file gives it, else its number among all
            pictures and frames of the source, from 1, those that cannot be read among them.
    """

    name: str
    picture: NDArray[np.uint8]
    index: int | None = None
    fps: float = 0.0
    image_id: int | str = 0

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.picture.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.picture.shape[0])


@dataclass
class FileSource:
    """Pictures and videos on disk, every frame in order.

    Attributes:
        root: folder that names are relative to.
        files: what will be read.
        problems: what could not be read, one line each, filled while iterating.
        ids: of the files, where a COCO file gives them.
        categories: ids of class names, where a COCO file gives them.
        left_out: what is in the folder and is not meant to be read, one line a kind.
    """

    root: Path
    files: Sequence[Path]
    problems: list[str] = field(default_factory=list)
    ids: Sequence[int | str] | None = None
    categories: Mapping[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[FileFrame]:
        count = 0
        for place, file in enumerate(self.files):
            if file.suffix.lower() in VIDEO_SUFFIXES:
                count += yield from self._video(file, count)
                continue
            count += 1
            with self._told():
                yield FileFrame(self.name(file), self.read(place), image_id=self.ids[place] if self.ids else count)

    def _video(self, file: Path, before: int) -> Generator[FileFrame, None, int]:
        """Its frames, numbered behind those before; gives how many there are."""
        video = Video(file)
        with self._told():
            for index, picture in video:
                yield FileFrame(self.name(file), picture, index, video.fps, before + index + 1)
            if video.broken:
                self.problems.append(f"{video.broken} of the {video.frames} frames of {file}, which cannot be decoded")
        return video.frames

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What cannot be read is a problem; where it is all there is, an error."""
        try:
            yield
        except DataError as error:
            if len(self.files) == 1:
                raise
            self.problems.append(str(error))

    def read(self, place: int) -> NDArray[np.uint8]:
        """The picture in the file at a place among `files`, (H, W, 3) uint8 RGB.

        Raises:
            DataError: it cannot be read.
        """
        file = self.files[place]
        if found := irregular(file):
            raise DataError(f"{file}: {found}; expected a picture")
        return read_image(file)

    def name(self, file: Path) -> str:
        """A file's name as frames bear it."""
        return Path(os.path.relpath(file, self.root)).as_posix()


def open_files(source: str, *, results: Iterable[Path] = ()) -> FileSource:
    """A picture, a video, a folder of them with its subfolders, in the order of their names, or a COCO file's pictures.

    Args:
        source: its path.
        results: folders that results are in or go to, which are not read where they lie in the source.

    Raises:
        DataError: nothing there, or nothing that is a picture or a video.
    """
    path = Path(source)
    if path.is_file():
        if path.suffix.lower() == ".json":
            pictures, categories = coco_pictures(path)
            ids, files = list(pictures), list(pictures.values())
            return FileSource(Path(os.path.commonpath([file.parent for file in files])), files, [], ids, categories)
        if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise DataError(
                f"{source}: neither picture nor video by its ending; expected one, a folder of them, or a COCO .json"
            )
        return FileSource(path.parent, [path])
    if not path.is_dir():
        found = irregular(path) if is_there(path) else "no such file or folder"
        raise DataError(f"{source}: {found}; expected a picture, a video, or a folder of them")
    found_files = in_folder(path, results)
    if not found_files.files:
        others = f" ({'; '.join(found_files.left_out)})" if found_files.left_out else ""
        raise DataError(f"{source}: no picture and no video in this folder{others}")
    return found_files


def in_folder(folder: Path, results: Iterable[Path]) -> FileSource:
    """What a folder and those below it hold; all that is not read is told."""
    source = FileSource(folder, [])
    own = {os.path.realpath(result) for result in results}
    files: list[Path] = []
    others, links = Counter[str](), 0

    def unreadable(error: OSError) -> None:
        source.left_out.append(f"{error.filename}: cannot be read ({reason(error)})")

    for here, folders, names in os.walk(folder, onerror=unreadable):
        for name in sorted(folders):
            path = os.path.join(here, name)
            if os.path.islink(path):
                links += 1  # os.walk does not follow them: they may lead in a circle
            elif os.path.realpath(path) in own:
                folders.remove(name)
                source.left_out.append(f"the folder {path}: results are in it")
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            path = os.path.join(here, name)
            if ending not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                others[ending or "no ending"] += 1
            elif found := irregular(Path(path)):  # a pipe would be waited for, a device might never end
                source.left_out.append(f"{path}: {found}")
            else:
                files.append(Path(path))
    if links:
        source.left_out.append(f"{links} links to folders, which are not followed")
    if others:
        kinds = ", ".join(f"{count} {ending}" for ending, count in others.most_common(5))
        more = f", {len(others) - 5} kinds more" if len(others) > 5 else ""
        source.left_out.append(f"{others.total()} files, no pictures or videos by their endings: {kinds}{more}")
    source.files = sorted(files)
    return source
