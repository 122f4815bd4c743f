"""Pictures that show the same piece of the world: copies, re-encoded copies and shifted crops.

Two pictures overlap where, for some shift, they correlate over the area that they share. All pairs are tried at a
coarse size, where each shift is one matrix product over all pictures; the few promising pairs are then measured at a
fine one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_lora.errors import DataError
from vision_lora.pictures.images import read_image

SIDE = 200  # pixels of the fine squares
_COARSE = 32  # pixels of the coarse ones
_MAX_SHIFT = 0.4  # of the side: beyond it the shared area is too small to tell
_PROMISING = 0.5  # coarse correlation above which a pair is measured; true overlaps lose some to half-pixel shifts
_BLOCK = 1024  # pictures a matrix product: bounds the memory, whatever the number of pictures
_MIN_CONTRAST = 1.0  # grey levels of fine structure below which there is nothing to recognise

Squares = NDArray[np.uint8]
_Candidate = tuple[int, int, int, int]  # two pictures, and the shift (dy, dx) in fine pixels
_REACH = int(_MAX_SHIFT * _COARSE)
# The second half is the first one turned round, in the same order.
_HALF = [(dy, dx) for dy in range(_REACH + 1) for dx in range(-_REACH, _REACH + 1) if (dy, dx) > (0, 0)]
_SHIFTS = [(0, 0), *_HALF, *((-dy, -dx) for dy, dx in _HALF)]


@dataclass(frozen=True)
class Overlap:
    """Two pictures that overlap.

    Args:
        first: index of one picture.
        second: index of the other, larger than `first`.
        correlation: over the shared area of the high-passed pictures, up to 1.
        dx: where the second picture's left edge lies in the first, in shares of the side.
        dy: where the second picture's upper edge lies in the first, in shares of the side.
    """

    first: int
    second: int
    correlation: float
    dx: float
    dy: float


def square(image: NDArray[np.uint8]) -> Squares:
    """A picture as `find_overlaps` compares it: grey, (SIDE, SIDE) uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def read_squares(paths: Sequence[Path]) -> tuple[Squares, dict[int, str]]:
    """Decode pictures for `find_overlaps`.

    Args:
        paths: the pictures' files.

    Returns:
        The squares, (n, SIDE, SIDE) uint8, and why a picture could not be decoded, by index; its square is black.
    """
    squares = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    errors: dict[int, str] = {}

    def read(index: int) -> None:
        try:
            squares[index] = square(read_image(paths[index]))
        except DataError as error:
            errors[index] = str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return squares, errors


def find_overlaps(squares: Squares, *, threshold: float = 0.8) -> list[Overlap]:
    """Find every pair of pictures that overlap.

    Brightness and contrast do not matter. The time grows with the square of the number of pictures: 1,800 take about
    half a minute on two cores.

    Args:
        squares: pictures made by `square`, (n, SIDE, SIDE) uint8.
        threshold: correlation over the shared area from which two pictures count as overlapping.

    Returns:
        The overlapping pairs, highest correlation first.
    """

    @lru_cache(maxsize=256)  # candidates come ordered by picture
    def fine(index: int) -> NDArray[np.float32]:
        return _high_pass(squares[index].astype(np.float32), SIDE / 25)

    def measure(candidate: _Candidate) -> Overlap:
        first, second, dy, dx = candidate
        correlation, dy, dx = _measure(fine(first), fine(second), dy, dx)
        return Overlap(first, second, correlation, dx / SIDE, dy / SIDE)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        measured = pool.map(measure, _candidates(squares))
        return sorted((pair for pair in measured if pair.correlation >= threshold), key=lambda pair: -pair.correlation)


def clusters(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Group items that are linked directly or through others.

    Args:
        count: number of items.
        pairs: links between them, by index.

    Returns:
        For each item the smallest index of its group, (count,).
    """
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(item) for item in range(count)]


def _high_pass(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Fine structure alone: uneven light would make all pictures of a line look alike."""
    return image - np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def _candidates(squares: Squares) -> list[_Candidate]:
    """Promising pairs, ordered by picture."""
    shrunk = (cv2.resize(image, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA) for image in squares)
    stack = [_high_pass(np.asarray(image, dtype=np.float32), _COARSE / 11) for image in shrunk]
    coarse = torch.from_numpy(np.stack(stack)) if stack else torch.zeros(0, _COARSE, _COARSE)
    blocks = np.array_split(np.arange(len(coarse)), max(1, math.ceil(len(coarse) / _BLOCK)))
    tasks = [(one, other) for i, one in enumerate(blocks) for other in blocks[i:]]

    def work(task: tuple[NDArray[np.int64], NDArray[np.int64]]) -> list[_Candidate]:
        one, other = task
        best, where = _best_shifts(coarse[one], coarse[other], itself=one is other)
        found = []
        for i, j in (best > _PROMISING).nonzero().tolist():
            dy, dx = _SHIFTS[int(where[i, j])]
            found.append((int(one[i]), int(other[j]), dy * SIDE // _COARSE, dx * SIDE // _COARSE))
        return found

    # One product a thread, each on one core: threads that share a product wait for each other, and on a busy machine
    # that waiting takes several times as long as the work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return sorted(chain.from_iterable(pool.map(work, tasks)))
    finally:
        torch.set_num_threads(threads)


def _best_shifts(first: Tensor, second: Tensor, *, itself: bool) -> tuple[Tensor, Tensor]:
    """Best correlation of each picture of one block with each of another.

    Args:
        first: (n, side, side) float32.
        second: (m, side, side) float32.
        itself: both are the same block: half of the shifts say all, and only pairs above the diagonal count.

    Returns:
        The correlation at the best shift, and that shift's index in `_SHIFTS`, both (n, m).
    """
    best = torch.full((len(first), len(second)), -1.0)
    where = torch.zeros(best.shape, dtype=torch.int16)
    for index, (dy, dx) in enumerate(_SHIFTS[: 1 + len(_HALF)] if itself else _SHIFTS):
        correlation = _standardised(first, dy, dx) @ _standardised(second, -dy, -dx).T
        where.masked_fill_(correlation > best, index)
        torch.maximum(best, correlation, out=best)
    if itself:  # the pair (i, j) shifted back is the pair (j, i)
        turned = best < best.T
        where = torch.where(turned, where.T + (where.T > 0) * len(_HALF), where)
        best = torch.where(turned, best.T, best).triu(diagonal=1)
    return best, where


def _standardised(images: Tensor, dy: int, dx: int) -> Tensor:
    """The part that a picture shares with one shifted by (dy, dx), with mean 0 and norm 1, (n, pixels)."""
    height, width = images.shape[1:]
    part = images[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)].flatten(1)
    part = part - part.mean(1, keepdim=True)
    # The floor keeps a flat picture, whose structure is rounding noise, from correlating with anything.
    norm = part.square().sum(1, keepdim=True).sqrt() + 0.1 * _MIN_CONTRAST * part.shape[1] ** 0.5
    standardised: Tensor = part / norm
    return standardised


def _measure(first: NDArray[np.float32], second: NDArray[np.float32], dy: int, dx: int) -> tuple[float, int, int]:
    """Correlation over the shared area at the best shift near (dy, dx), and that shift."""
    reach = SIDE // _COARSE + 2
    limit = int(_MAX_SHIFT * SIDE)
    # A patch of the first picture that stays inside the second for every shift tried.
    top, left = max(dy, 0) + reach, max(dx, 0) + reach
    bottom, right = SIDE + min(dy, 0) - reach, SIDE + min(dx, 0) - reach
    patch = first[top:bottom, left:right]
    window = second[top - dy - reach : bottom - dy + reach, left - dx - reach : right - dx + reach]
    peaks = cv2.matchTemplate(window, patch, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(np.argmax(peaks)), peaks.shape)
    dy = int(np.clip(dy + reach - int(y), -limit, limit))
    dx = int(np.clip(dx + reach - int(x), -limit, limit))
    a = first[max(dy, 0) : SIDE + min(dy, 0), max(dx, 0) : SIDE + min(dx, 0)]
    b = second[max(-dy, 0) : SIDE + min(-dy, 0), max(-dx, 0) : SIDE + min(-dx, 0)]
    if min(float(a.std()), float(b.std())) < _MIN_CONTRAST:
        return 0.0, dy, dx
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]), dy, dx
