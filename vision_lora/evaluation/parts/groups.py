"""Which pictures show the same part: by folder, by a pattern in the file's name, or by a CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from vision_lora.datasets.sample import Sample
from vision_lora.errors import ConfigError, DataError, reason

COLUMNS = ("picture", "part")


def group_pictures(how: str, samples: Sequence[Sample], everything: Sequence[Sample]) -> list[str]:
    """The part that each picture shows.

    Args:
        how: `picture`: each is a part by itself; `folder`: those of one folder; a CSV with the columns `picture` (a
            file's name, or as much of its path as tells it from others) and `part`; else a pattern (a regular
            expression) with one (...) around what names the part in the file's name without its ending.
        samples: the pictures.
        everything: those of all splits: what the CSV names has to be among them.

    Returns:
        A name for each picture, (n,).

    Raises:
        ConfigError: no pattern.
        DataError: a picture without a part, or a part that names no picture.

    Examples:
        >>> import numpy as np
        >>> empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        >>> samples = [Sample(Path(f"{name}.png"), 9, 9, *empty) for name in ("a_1", "a_2", "b_1")]
        >>> group_pictures("(.+)_[0-9]+", samples, samples)
        ['a', 'a', 'b']
    """
    if how == "picture":
        return [str(sample.path) for sample in samples]
    if how == "folder":
        return [str(sample.path.parent) for sample in samples]
    if how.lower().endswith(".csv"):
        return _by_csv(Path(how), samples, everything)
    return _by_pattern(how, samples)


def _by_pattern(how: str, samples: Sequence[Sample]) -> list[str]:
    try:
        pattern = re.compile(how)
    except re.error as error:
        raise ConfigError(f"--parts {how}: no pattern ({error}); expected one such as (.+)_[0-9]+") from None
    if pattern.groups != 1:
        raise ConfigError(f"--parts {how}: expected picture, folder, a .csv, or a pattern with one (...) for the part")
    matches = [(sample, pattern.fullmatch(sample.path.stem)) for sample in samples]
    if strange := [sample for sample, match in matches if match is None or not match[1]]:
        raise DataError(
            f"--parts {how}: names the part of {len(samples) - len(strange)} of {len(samples)} pictures, "
            f"not of {strange[0].path.name}"
        )
    return [match[1] for _, match in matches if match is not None]


def _by_csv(file: Path, samples: Sequence[Sample], everything: Sequence[Sample]) -> list[str]:
    named = _read(file)
    ends: dict[str, str | None] = {}  # what may stand in the CSV for a picture; None where it could be two
    for sample in everything:
        parts = sample.path.absolute().parts[1:]
        for length in range(1, len(parts) + 1):
            end = "/".join(parts[-length:])
            ends[end] = str(sample.path) if ends.get(end, str(sample.path)) == str(sample.path) else None
    part_of: dict[str, str] = {}
    for line, (picture, part) in named.items():
        path = ends.get(picture, "")
        if not path:
            found = "names several pictures" if path is None else "names no picture of the dataset"
            raise DataError(
                f"{file}, line {line}: {picture!r:.80} {found}; expected a picture's file name, or its path"
            )
        if part_of.setdefault(path, part) != part:
            raise DataError(
                f"{file}, line {line}: {picture!r:.80} is of part {part!r:.60}, above of {part_of[path]!r:.60}"
            )
    if without := [sample for sample in samples if str(sample.path) not in part_of]:
        raise DataError(f"{file}: no part for {len(without)} of {len(samples)} pictures, the first: {without[0].path}")
    return [part_of[str(sample.path)] for sample in samples]


def _read(file: Path) -> dict[int, tuple[str, str]]:
    """Picture and part by line."""
    named: dict[int, tuple[str, str]] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = csv.DictReader(opened, strict=True)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise DataError(f"{file}, line 1: expected the columns {' and '.join(COLUMNS)}")
            for row in rows:
                named[rows.line_num] = (row["picture"] or "").strip(), (row["part"] or "").strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({reason(error)}); expected a CSV with picture,part") from None
    for line, (picture, part) in named.items():
        if not picture or not part:
            raise DataError(f"{file}, line {line}: expected a picture and its part")
    return {line: (picture.replace("\\", "/").removeprefix("./"), part) for line, (picture, part) in named.items()}
