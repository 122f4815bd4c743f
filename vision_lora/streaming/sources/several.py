"""Several sources as one, and patterns in the place of paths: for shells that do not expand them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.pictures.videos import VIDEO_SUFFIXES
from vision_lora.streaming.sources.source import FileSource, in_folder, open_files


def expand(source: str) -> list[str]:
    """The paths that a text stands for: itself where it is one, else what it matches as a pattern, by name.

    Args:
        source: a path, or a pattern with `*`, `?`, `[...]`, or `**` for folders at any depth. A file whose own name has
            such signs in it is meant before a pattern is.

    Raises:
        DataError: a pattern that matches nothing.
    """
    if not glob.has_magic(source) or os.path.lexists(source):
        return [source]
    if found := sorted(glob.glob(source, recursive=True)):
        return found
    raise DataError(f"{source}: no file and no folder matches; expected one, or its name without *, ? and [")


def unique(paths: Iterable[str]) -> list[str]:
    """Each path once, in the order in which they came first; two ways to write one path are one.

    Examples:
        >>> unique(["b.png", "a.png", "./b.png"])
        ['b.png', 'a.png']
    """
    first = dict[str, str]()
    for path in paths:
        first.setdefault(os.path.normcase(os.path.abspath(path)), path)
    return list(first.values())


def open_sources(sources: Sequence[str], *, results: Iterable[Path] = ()) -> FileSource:
    """Pictures and videos of several sources in their order, each file once; one alone is opened by `open_files`.

    Names are relative to the folder that all files have in common, so that equal names in two folders stay apart. What
    a folder holds is read by name; a file that is neither picture nor video is left out, and told.

    Args:
        sources: pictures, videos, folders of them, and patterns of such; or one COCO file.
        results: folders that results are in or go to, which are not read.

    Raises:
        DataError: one of them is not there, a pattern matches nothing, nothing is a picture or a video, or a COCO file
            is among several: its ids would not be those of all pictures.
    """
    paths = unique(path for source in sources for path in expand(source))
    if len(paths) == 1:
        return open_files(paths[0], results=results)
    own = {os.path.realpath(result) for result in results}
    files, left_out = list[str](), list[str]()
    for path in paths:
        if os.path.isdir(path) and os.path.realpath(path) in own:
            left_out.append(f"the folder {path}: results are in it")
        elif os.path.isdir(path):
            inside = in_folder(Path(path), results)
            files += map(str, inside.files)
            left_out += [f"{path}: {line}" for line in inside.left_out]
        elif os.path.isfile(path) and path.lower().endswith(".json"):
            raise DataError(f"{path}: a COCO file beside other sources; its ids are its own: give it alone")
        elif os.path.isfile(path) and Path(path).suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            left_out.append(f"{path}: neither picture nor video by its ending")
        else:
            files += map(str, open_files(path).files)
    if not files:
        raise DataError(f"{paths[0]} and {len(paths) - 1} more: no picture and no video ({'; '.join(left_out[:3])})")
    each = [Path(file) for file in unique(files)]
    return FileSource(common_folder(each), each, left_out=left_out)


def common_folder(files: Iterable[Path]) -> Path:
    """The innermost folder that all files are in or below, absolute.

    Raises:
        DataError: there is none, as on Windows for those on two drives.
    """
    folders = sorted({str(file.absolute().parent) for file in files})
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:
        raise DataError(f"{folders[0]} and {folders[-1]}: on two drives; expected sources on one at a time") from None
