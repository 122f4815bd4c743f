"""A cleaned copy of a dataset: the source is never touched, and every change is written down."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from vision_lora.datasets.check import Report, file_digest, same_labels
from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.outputs import write_text


def write_fixed(report: Report, out: Path) -> list[str]:
    """Write a cleaned copy as a YOLO dataset, with `changes.txt` and `data.yaml` in it.

    Left out are pictures that cannot be decoded, boxes that double another one of the same class, and copies to the
    byte that carry the same boxes. Pictures that overlap across splits move, so that each group is in one split.

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
            name = _free_name(sample.path, split, taken)
            _write_sample(sample, out, split, name, doubles.get(index, set()))
        _write_yaml(report, out)
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
    """The picture's own name, with a number where two folders of the source had the same one."""
    key = f"{split}/{path.stem.lower()}"
    taken[key] += 1
    return path.name if taken[key] == 1 else f"{path.stem}__{taken[key]}{path.suffix}"


def _write_sample(sample: Sample, out: Path, split: str, name: str, doubles: set[int]) -> None:
    image, label = out / "images" / split / name, (out / "labels" / split / name).with_suffix(".txt")
    for folder in (image.parent, label.parent):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sample.path, image)
    size = np.array([sample.width, sample.height])
    rows = []
    for index, (box, kind) in enumerate(zip(sample.boxes.astype(np.float64), sample.classes, strict=True)):
        if index not in doubles:
            cx, cy = (box[:2] + box[2:]) / 2 / size
            w, h = (box[2:] - box[:2]) / size
            rows.append(f"{kind} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n")
    label.write_text("".join(rows), encoding="utf-8")


def _write_yaml(report: Report, out: Path) -> None:
    used = set(report.proposal or report.splits)
    lines = ["path: ."]
    lines += [f"{split}: images/{split}" for split in ("train", "val", "test") if split in used]
    # JSON strings are YAML strings too, whatever stands in a class name.
    lines += ["names:", *(f"  {index}: {json.dumps(name)}" for index, name in enumerate(report.dataset.names))]
    (out / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
