"""A cleaned copy of a dataset: the source is never touched, and every change is written down."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from vision_lora.datasets.checking.check import Report, file_digest, same_labels
from vision_lora.datasets.sample import Sample
from vision_lora.datasets.write import yolo_labels, yolo_yaml
from vision_lora.errors import DataError
from vision_lora.pictures.images import read_image
from vision_lora.system.outputs import write_text

# Ultralytics goes by the ending and passes these over: a JPEG only needs another name, the others another format.
_OTHER_ENDING = {".jfif": ".jpg", ".jpe": ".jpg", ".gif": ".png", ".pgm": ".png", ".ppm": ".png"}


def write_fixed(report: Report, out: Path) -> list[str]:
    """Write a cleaned copy as a YOLO dataset, with `changes.txt` and `data.yaml` in it.

    Left out are pictures that cannot be decoded, boxes that double another one of the same class, and copies to the
    byte that carry the same boxes. Pictures that overlap across splits move, so that each group is in one split.
    Regions to ignore (crowd, difficult) have no place in YOLO labels: they are lost, and each is told.

    Args:
        report: from `check_dataset`.
        out: a folder that does not exist yet, or is empty.

    Returns:
        The changes, one line each.

    Raises:
        DataError: the folder holds something, lies inside the dataset, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: already holds something; expected a new folder for the cleaned copy")
    changes = [f"skipped: {problem}" for problem in report.dataset.problems]
    changes += [f"cut: {problem}" for problem in report.dataset.mended]
    changes += [f"noted: {problem}" for problem in report.dataset.noted]
    dropped = _dropped(report)
    changes += dropped.values()
    doubles: dict[int, set[int]] = {}
    for picture, first, second in report.doubled:
        sample = report.samples[picture]
        if sample.classes[first] == sample.classes[second]:
            doubles.setdefault(picture, set()).add(second)
            changes.append(f"removed: {sample.path}: box {second + 1}, which doubles box {first + 1}")
    taken: Counter[str] = Counter()
    try:
        for index, sample in enumerate(report.samples):
            if index in dropped:
                continue
            split = report.proposal[index] if report.proposal else report.splits[index]
            if split != report.splits[index]:
                changes.append(f"moved: {sample.path} from {report.splits[index]} to {split}")
            if len(sample.ignored):
                changes.append(
                    f"ignored: {sample.path}: {len(sample.ignored)} regions to ignore, which YOLO labels cannot hold; "
                    "they count as background in the copy"
                )
            name = _free_name(sample.path, split, taken)
            _write_sample(sample, out, split, name, doubles.get(index, set()))
        used = set(report.proposal or report.splits)
        folders: dict[str, str] = {split: f"images/{split}" for split in ("train", "val", "test") if split in used}
        write_text(out / "data.yaml", yolo_yaml(folders, report.dataset.names))
        write_text(out / "changes.txt", "".join(f"{line}\n" for line in changes))
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from None
    return changes


def _dropped(report: Report) -> dict[int, str]:
    """Pictures to leave out, with the reason."""
    dropped = {i: f"removed: {report.samples[i].path}, which cannot be decoded" for i in report.unreadable}
    for pair in report.overlaps:
        one, other = report.samples[pair.first], report.samples[pair.second]
        if pair.first in dropped or pair.second in dropped or pair.correlation < 0.98:
            continue
        if same_labels(one, other) and file_digest(one.path) == file_digest(other.path):
            dropped[pair.second] = f"removed: {other.path}, a copy of {one.path}"
    return dropped


def _free_name(path: Path, split: str, taken: Counter[str]) -> str:
    """The picture's own name, with a number where two of the source share it, and an ending that all read."""
    key = f"{split}/{path.stem.lower()}"
    taken[key] += 1
    suffix = _OTHER_ENDING.get(path.suffix.lower(), path.suffix)
    return f"{path.stem}{suffix}" if taken[key] == 1 else f"{path.stem}__{taken[key]}{suffix}"


def _write_sample(sample: Sample, out: Path, split: str, name: str, doubles: set[int]) -> None:
    image, label = out / "images" / split / name, (out / "labels" / split / name).with_suffix(".txt")
    for folder in (image.parent, label.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if image.suffix == ".png" and sample.path.suffix.lower() in _OTHER_ENDING:
        Image.fromarray(read_image(sample.path)).save(image)
    else:
        shutil.copyfile(sample.path, image)
    kept = ~np.isin(np.arange(len(sample.boxes)), list(doubles))
    rows = yolo_labels(sample.boxes[kept], sample.classes[kept], sample.width, sample.height)
    label.write_text(rows, encoding="utf-8")
