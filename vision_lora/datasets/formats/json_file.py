"""JSON files that hold a dataset: COCO's, or an export of Label Studio's; and the pictures beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vision_lora.datasets.formats.coco import read_coco
from vision_lora.datasets.formats.label_studio import read_label_studio
from vision_lora.datasets.formats.paths import Roots, not_needed
from vision_lora.datasets.sample import Problems, Sample
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.system.files import irregular


def read_json(
    path: Path,
    problems: Problems,
    *,
    names: tuple[str, ...] | None = None,
    folder: Path | None = None,
    roots: Roots | None = None,
) -> tuple[tuple[str, ...], list[Sample]]:
    """Read a JSON file as what it is: a mapping is COCO's, a list Label Studio's.

    Args:
        path: the JSON file.
        problems: takes what is skipped.
        names: class names, where something else gives them.
        folder: where the names of pictures start from.
        roots: folders that the pictures must lie in; by default `folder`.

    Returns:
        Class names by index, and the samples.

    Raises:
        DataError: neither of the two, or as its reader says.
    """
    if found := irregular(path):
        raise DataError(f"{path}: {found}; expected a JSON file")
    try:
        with path.open("rb") as file:
            start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    read = read_label_studio if start.startswith(b"[") else read_coco
    return read(path, problems, names=names, folder=folder, roots=roots)


def note_unlisted(samples: Sequence[Sample], problems: Problems) -> None:
    """Tell what lies in the pictures' own folders and is in none of the JSON files."""
    for folder in sorted({sample.path.parent for sample in samples}):
        pictures = []
        for name in sorted(os.listdir(folder)):
            path = folder / name
            if problems.ledger.knows(path) or path.is_dir():
                continue
            problems.ledger.see(path)
            if not_needed(name):
                problems.ledger.settle(path, "not needed")
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                pictures.append(path)
            else:
                problems.leave(path, "a file that is not read", "pictures")
        problems.leave_together(
            folder, pictures, "that no JSON lists", "an entry for each, also where nothing is to see"
        )
