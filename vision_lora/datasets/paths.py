"""Which files a dataset may touch: those inside its own folders, links and `..` followed to their end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vision_lora.datasets.sample import Problems
from vision_lora.errors import DataError
from vision_lora.images import IMAGE_SUFFIXES, image_size, is_cut_off, read_image


class Roots:
    """The folders that a dataset named as its own; every path is checked against them.

    Args:
        first: the folder that relative paths start from.
    """

    def __init__(self, first: Path) -> None:
        self.first = first
        self._real = [os.path.realpath(first)]

    def add(self, folder: Path) -> None:
        """Admit another root: a folder that the dataset's own yaml names by an absolute path."""
        self._real.append(os.path.realpath(folder))

    def holds(self, path: Path | str) -> bool:
        """Whether `path`, with every link and `..` followed, lies inside one of the roots."""
        real = os.path.realpath(path)
        return any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in self._real)

    def require(self, path: Path, source: Path) -> None:
        """Refuse a path that leaves the roots.

        Raises:
            DataError: `path` lies outside.
        """
        if not self.holds(path):
            raise DataError(
                f"{source}: {path} leaves the dataset's folder {self.first} (through `..` or a link); "
                "expected a path inside it: copy the files there, or name their folder by an absolute path in the yaml"
            )


def is_there(path: Path) -> bool:
    """Whether a path exists; a name that no file system could hold does not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL in it
        return False


def image_files(folder: Path, roots: Roots, problems: Problems) -> Iterator[Path]:
    """Pictures in a folder and below, sorted by path; links that leave the roots are problems, not pictures."""
    for here, folders, files in os.walk(folder):
        folders.sort()
        for name in list(folders):
            if os.path.islink(os.path.join(here, name)):
                folders.remove(name)  # os.walk would not follow it either; never silently
                problems.add(Path(here, name), "", "a link to a folder", "a folder: links are not followed")
        for name in sorted(files):
            path = os.path.join(here, name)
            if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                continue
            if os.path.islink(path) and not roots.holds(path):
                problems.add(
                    Path(path), "", f"a link to {os.path.realpath(path)}", "a file inside the dataset's folder"
                )
                continue
            yield Path(path)


def readable_size(path: Path, problems: Problems) -> tuple[int, int] | None:
    """Size of a picture in pixels, or None and a problem where it cannot be used."""
    try:
        size = image_size(path)
        if is_cut_off(path):
            read_image(path)
        return size
    except DataError as error:
        found = str(error).removeprefix(f"{path}: ")
        problems.add(path, "", found, "a whole picture (it is skipped)")
        return None
