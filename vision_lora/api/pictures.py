"""What may be given to detect in: paths, arrays and Pillow's pictures, alone or in a list."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vision_lora.errors import ConfigError, DataError
from vision_lora.pictures.images import decode
from vision_lora.streaming.sources.several import common_folder, open_sources
from vision_lora.streaming.sources.source import FileSource

Order = Literal["rgb", "bgr"]
Picture = str | os.PathLike[str] | NDArray[np.uint8] | Image.Image
Pictures = Picture | Sequence[Picture]

_SHAPES = "(height, width, 3), uint8, RGB, or BGR with order='bgr'; or grey, (height, width)"


@dataclass
class MixedSource(FileSource):
    """Files and pictures in memory, in the order in which they were given.

    Attributes:
        held: pictures in memory by their place among `files`, which has a name for each.
    """

    held: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)

    def read(self, place: int) -> NDArray[np.uint8]:
        return self.held[place] if place in self.held else super().read(place)


def open_pictures(given: Pictures, order: Order) -> FileSource:
    """All that was given, as a source of frames.

    A picture in memory is called `picture-N.png` after its place in the list, from 0. It is copied, so that a camera's
    buffer may be used again.

    Args:
        given: a picture, a video, a folder of them, a pattern such as `line3/*.png`, a COCO file, an array, a picture
            of Pillow's, or a list of such.
        order: of the colours in arrays.

    Raises:
        ConfigError: no such order.
        DataError: nothing there, or nothing that is a picture.
    """
    if order not in get_args(Order):
        raise ConfigError(f"order={order!r}: expected one of {', '.join(get_args(Order))}")
    if isinstance(given, (str, os.PathLike)):
        return open_sources([os.fspath(given)])
    each = list(given) if isinstance(given, Sequence) else [given]
    if not each:
        raise DataError("an empty list: expected at least one picture")
    found = [_opened(one, f"picture-{place}", order) for place, one in enumerate(each)]
    on_disk = {file.absolute() for one in found if isinstance(one, FileSource) for file in one.files}
    root = common_folder(on_disk) if on_disk else Path("memory")
    files, held = list[Path](), dict[int, NDArray[np.uint8]]()
    for place, one in enumerate(found):
        if isinstance(one, FileSource):
            files += one.files
        else:
            held[len(files)] = one
            files.append(_free(root / f"picture-{place}.png", on_disk))
    return MixedSource(root, files, held=held)


def in_memory(source: FileSource, place: int) -> bool:
    """Whether the picture at a place among a source's files is none of them."""
    return isinstance(source, MixedSource) and place in source.held


def _opened(one: Any, name: str, order: Order) -> FileSource | NDArray[np.uint8]:
    """One thing of a list: files, or a picture in memory, (H, W, 3) uint8 RGB."""
    if isinstance(one, (str, os.PathLike)):
        return open_sources([os.fspath(one)])
    if isinstance(one, Image.Image):
        return decode(one, name)
    if isinstance(one, np.ndarray):
        return _rgb(one, name, order)
    raise DataError(f"{name}: a {type(one).__name__}; expected a path, an array, or a picture of Pillow's")


def _free(file: Path, taken: Collection[Path]) -> Path:
    """A name that no given file has."""
    while file in taken:
        file = file.with_name(f"_{file.name}")
    return file


def _rgb(array: NDArray[Any], name: str, order: Order) -> NDArray[np.uint8]:
    """A copy of an array as a picture."""
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise DataError(f"{name}: an array of shape {array.shape}, {array.dtype}; expected {_SHAPES}")
    if grey:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.array(array if order == "rgb" else array[..., ::-1], order="C")
