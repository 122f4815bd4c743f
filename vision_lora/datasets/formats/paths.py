"""Which files a dataset may touch: those inside its own folders, links and `..` followed to their end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vision_lora.datasets.sample import Problems
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES, image_size, is_cut_off, read_image
from vision_lora.system.files import irregular

# What systems, network stores and labelling tools leave beside data. Their folders hold copies: thumbnails of pictures.
_NOT_NEEDED = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "classes.txt", "notes.json"})
LABEL_SUFFIXES = frozenset({".txt", ".xml"})
A_PICTURE = "a whole picture in the dataset's folder (it is skipped)"


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


def walk(folder: Path, problems: Problems) -> Iterator[Path]:
    """Files in a folder and below that may be data, sorted by path; every file is taken note of.

    What is plainly no data is only counted, a file that was settled before is not given again, and links to folders are
    problems.
    """

    def unreadable(error: OSError) -> None:
        problems.add(Path(error.filename), "", f"cannot be read ({error.strerror})", "a folder that may be read")

    for here, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in list(folders):
            path = Path(here, name)
            if not_needed(name):
                folders.remove(name)
            elif os.path.islink(path):
                folders.remove(name)  # os.walk would not follow it either; never silently
                if problems.ledger.fate(path) is None:
                    problems.add(path, "", "a link to a folder", "a folder: links are not followed")
            elif path.suffix.lower() in LABEL_SUFFIXES | IMAGE_SUFFIXES and problems.ledger.fate(path) is None:
                problems.add(path, "", "a folder named like a file", "a file")
        for name in sorted(files):
            path = Path(here, name)
            problems.ledger.see(path)
            if not_needed(name):
                problems.ledger.settle(path, "not needed")
            elif problems.ledger.fate(path) is None:
                yield path


def not_needed(name: str) -> bool:
    """Whether a file or folder is plainly no data, by its name: hidden, or what tools and systems leave behind."""
    name = name.lower()
    suffix = os.path.splitext(name)[1]
    return (
        name.startswith(".")  # .DS_Store, .git, and macOS's own halves of pictures, ._1.jpg
        or name in _NOT_NEEDED
        or suffix in (".cache", ".yaml", ".yml")
        or (name.partition(".")[0] in ("readme", "license") and suffix in ("", ".md", ".txt"))
    )


def picture_size(path: Path, roots: Roots) -> tuple[int, int] | str:
    """Size of a picture in pixels; or, where it cannot be used, what was found, in words for a `Problem`."""
    if os.path.islink(path) and not roots.holds(path):
        return f"a link to {os.path.realpath(path)}, which leaves the dataset's folder"
    found = irregular(path)
    if found:
        return "no such picture" if found == "no such file" else found
    try:
        size = image_size(path)
        if is_cut_off(path):
            read_image(path)
        return size
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")


def other_size(stated: tuple[Any, Any], size: tuple[int, int], file: Path) -> tuple[str, str] | None:
    """Where an annotation states another size than its picture has: what was found, and what was expected.

    Such boxes were drawn on another picture: on a larger one, or on one that lay on its side.
    """
    if stated == size:
        return None
    upright = " (upright)" if stated == size[::-1] else ""
    return f"size {stated[0]} x {stated[1]}", f"{size[0]} x {size[1]}{upright}, as in {file}"
