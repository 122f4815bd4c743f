"""Reading pictures as factories have them: grey, 16-bit, with alpha, rotated by EXIF, sometimes broken."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vision_lora.errors import DataError, FormatError, reason
from vision_lora.system.outputs import write_whole
from vision_lora.text.names import shown

# What is a picture by its ending. Not every Pillow can decode AVIF and HEIC: then each is told, and never passed over.
IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".bmp", ".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm", ".pnm"}
    | {".jp2", ".gif", ".avif", ".heic", ".heif"}
)

PAD_VALUE = 114  # the grey that YOLO-style detectors were trained to see around a picture

# Pillow's own limit for a decompression bomb, above any area camera and common line-scan frames.
MAX_PIXELS = 178_956_970

_JPEG_END = b"\xff\xd9"
_END_MARKS = dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _JPEG_END) | {".png": b"IEND\xaeB`\x82"}

# Ultralytics, once imported, exchanges Pillow's `open` for one that installs another package at each broken picture.
_open = Image.open

# EXIF orientation -> how to turn the stored picture upright (values 5 to 8 swap width and height).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a picture upright and in RGB, whatever its file holds.

    Grey is repeated over three channels, 16 bit is scaled to 8 (65535 -> 255), alpha is dropped, EXIF rotation applied;
    of an animation or a stack the first frame counts.

    Args:
        path: the picture's file.

    Returns:
        The picture, (height, width, 3) uint8 RGB.

    Raises:
        DataError: missing, no picture, truncated, of unknown depth, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        return decode(image, path)


def decode(image: Image.Image, name: str | Path) -> NDArray[np.uint8]:
    """A picture that Pillow has opened, upright and in RGB, see `read_image`.

    Args:
        image: the picture; not changed.
        name: what errors call it.

    Raises:
        DataError: it cannot be decoded, or is of unknown depth.
    """
    with _in_one_line(name):
        turn = _UPRIGHT.get(_orientation(image))
        image.load()
        if image.mode == "F":
            raise DataError(f"{name}: 32-bit float picture; expected 8 or 16 bit: convert it first")
        shallow = _to_8_bit(image, name) if image.mode.startswith("I") else image
        upright = shallow if turn is None else shallow.transpose(turn)
        return np.array(upright.convert("RGB"))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels after EXIF rotation, from the file's header alone.

    Raises:
        DataError: missing, no picture, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def is_cut_off(path: Path) -> bool:
    """Whether a JPEG or PNG lacks its end mark: a cheap sign that it may be truncated, to be proved by decoding it.

    Raises:
        DataError: the file cannot be read.
    """
    mark = _END_MARKS.get(path.suffix.lower())
    if mark is None:
        return False
    try:
        with path.open("rb") as file:
            file.seek(-min(len(mark), path.stat().st_size), os.SEEK_END)
            return file.read() != mark
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def encode_picture(picture: NDArray[np.uint8], ending: str, *, quality: int = 95) -> bytes:
    """A picture as the bytes of its file.

    Args:
        picture: (H, W, 3) uint8 RGB.
        ending: of the file, which names the format: `.png`, `.jpg`, or another that OpenCV writes.
        quality: of a JPEG, 0 to 100.

    Raises:
        FormatError: the format does not take it.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending in (".jpg", ".jpeg") else []
    try:
        done, encoded = cv2.imencode(ending, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        done = False
    if not done:
        raise FormatError(f"no {ending} can be made of {picture.shape[1]} x {picture.shape[0]} pixels; .png may do")
    return encoded.tobytes()


def write_picture(path: Path, picture: NDArray[np.uint8], *, quality: int = 95) -> None:
    """Write a picture whole or not at all, in the format that its ending names.

    Encoded in memory: OpenCV and Pillow do not tell a full disk, and some names end OpenCV altogether.

    Args:
        path: its file.
        picture: (H, W, 3) uint8 RGB.
        quality: of a JPEG, 0 to 100.

    Raises:
        FormatError: the format does not take it.
        OutputError: it cannot be written.
    """
    try:
        data = encode_picture(picture, path.suffix.lower(), quality=quality)
    except FormatError as error:
        raise FormatError(f"{shown(str(path))}: {error}") from None
    write_whole(path, data)


def letterbox(image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """Fit a picture into a square, keeping its aspect ratio, with grey around it.

    Args:
        image: (height, width, 3) uint8.
        size: side of the square in pixels.

    Returns:
        The square (size, size, 3), the scale (new pixels per old pixel), and the padding left and above in pixels:
        a point (x, y) of the picture lies at (x * scale + pad_x, y * scale + pad_y).
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if scale != 1:
        # Area averaging keeps thin scratches when shrinking; it is no help when enlarging.
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (new_width, new_height), interpolation=how), dtype=np.uint8)
    pad_x, pad_y = (size - new_width) // 2, (size - new_height) // 2
    square = np.full((size, size, 3), PAD_VALUE, np.uint8)
    square[pad_y : pad_y + new_height, pad_x : pad_x + new_width] = image
    return square, scale, (pad_x, pad_y)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; what goes wrong there, or with what is done to it, is one line."""
    with _in_one_line(path), _open(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(f"{path}: declares {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
        yield image


@contextmanager
def _in_one_line(path: str | Path) -> Iterator[None]:
    """Turn every way in which opening or decoding a picture can fail into one line."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: declares more pixels than the {MAX_PIXELS:,} that are read") from None
    # Pillow's decoders raise all of these on broken files, a SyntaxError among them for a broken PNG.
    # ImportError: Ultralytics was imported first, and its package is not there.
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, struct.error, zlib.error, ImportError) as error:
        raise DataError(f"{path}: unreadable picture ({reason(error)}); replace or remove it") from None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where there is none. Must be asked before the picture is loaded."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself, and its size is the turned one
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif() would decode the whole PNG to look for a trailing chunk
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return int(value) if value in _UPRIGHT else 1


def _to_8_bit(image: Image.Image, path: str | Path) -> Image.Image:
    """Scale a 16-bit grey picture to 8 bit over the full range, so that equal grey stays equal across pictures."""
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DataError(f"{path}: 32-bit picture with values beyond 16 bit; expected 8 or 16 bit: convert it first")
    return Image.fromarray((values.astype(np.uint32) * 255 // 65535).astype(np.uint8))
