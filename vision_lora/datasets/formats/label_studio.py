"""Label Studio's JSON exports, whole and short: rectangles and polygons in per cent of the picture."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from vision_lora.datasets.formats.class_names import class_names
from vision_lora.datasets.formats.paths import A_PICTURE, Roots, is_there, other_size, picture_size
from vision_lora.datasets.sample import Box, Problems, Sample, as_boxes
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.system.files import INDEX_BYTES, read_bytes
from vision_lora.text.names import unfit

_SHAPES = "a region of `rectanglelabels` or `polygonlabels` with one label, in per cent"


class _Task(NamedTuple):
    """A picture of the export, and the regions of each of its annotations."""

    where: str
    picture: str
    annotations: list[list[dict[str, Any]]]


def read_label_studio(
    path: Path,
    problems: Problems,
    *,
    names: tuple[str, ...] | None = None,
    folder: Path | None = None,
    roots: Roots | None = None,
) -> tuple[tuple[str, ...], list[Sample]]:
    """Read an export of the kinds `JSON` and `JSON-MIN`.

    Pictures are looked for beside the file and in `images`, under the name that Label Studio gave them and under their
    own. Of several annotations of a picture the first counts; one that has none is left out.

    Args:
        path: the JSON file.
        problems: takes what is skipped.
        names: class names, where something else gives them; by default the labels in use, sorted.
        folder: where the pictures are; by default beside the file.
        roots: folders that the pictures must lie in; by default `folder`.

    Returns:
        Class names by index, and the samples.

    Raises:
        DataError: no such export, or no label in it.
    """
    tasks = _load(path)
    folder = folder or path.parent
    roots = roots or Roots(folder)
    if names is None:
        labels = {_label(region) for task in tasks for regions in task.annotations for region in regions}
        names = class_names(sorted(label for label in labels if label is not None), path, problems)
    if not names:
        raise DataError(f"{path}: no labelled region in any of the {len(tasks)} tasks; expected {_SHAPES}")
    problems.ledger.settle(path, "used")
    problems.ledger.boxes += sum(len(regions) for task in tasks for regions in task.annotations)
    samples: dict[Path, Sample] = {}
    for task in tasks:
        opened = _open(task, path, folder, roots, problems)
        if opened is None:
            continue
        file, size = opened
        first, *others = task.annotations
        for regions in [*others, *([first] if file in samples else [])]:
            problems.add(path, task.where, "another annotation", "one (the first is taken)", boxes=len(regions))
        wrong = next(filter(None, (other_size(_stated(region, size), size, file) for region in first)), None)
        if wrong:
            problems.add(path, task.where, *wrong, boxes=len(first), files=[file])
        elif file not in samples:
            samples[file] = _sample(file, size, first, names, path, task.where, problems)
    return names, list(samples.values())


def _open(
    task: _Task, path: Path, folder: Path, roots: Roots, problems: Problems
) -> tuple[Path, tuple[int, int]] | None:
    """The picture of a task, and its size; None where it is skipped, which is told."""
    boxes = sum(map(len, task.annotations))
    file = _locate(task.picture, folder, roots)
    if file is None:
        entry = f"{path}, {task.where}"
        found = f"picture {task.picture!r}, which is neither in {folder} nor in its images"
        problems.add(path, task.where, found, "it there, under its name", boxes=boxes, files=[entry])
        return None
    problems.ledger.see(file)
    if not task.annotations:
        problems.leave(file, "a picture without annotation", "one, empty where nothing is to be seen")
        return None
    size = picture_size(file, roots)
    if isinstance(size, str):
        problems.add(path, task.where, f"{file}: {size}", A_PICTURE, boxes=boxes, files=[file])
        return None
    return file, size


def _load(path: Path) -> list[_Task]:
    """The tasks of an export, of whichever of the two kinds."""
    try:
        rows = json.loads(read_bytes(path, INDEX_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); expected COCO's or Label Studio's") from None
    tasks = []
    for number, row in enumerate(rows, start=1):
        short = isinstance(row, dict) and not isinstance(row.get("data"), dict)
        picture = _picture(row if short else row["data"]) if isinstance(row, dict) else None
        if picture is None:
            raise DataError(
                f"{path}: no list `images` as in COCO, and entry {number} is no task of Label Studio's with a picture "
                f"({str(row)[:60]!r}); expected an annotation file: results of a detector are none"
            )
        if short:
            annotations = [_regions([item for value in row.values() if isinstance(value, list) for item in value])]
        else:
            made = row["annotations"] if isinstance(row.get("annotations"), list) else []
            made = [each for each in made if isinstance(each, dict)]
            made = [each for each in made if not each.get("was_cancelled") and isinstance(each.get("result"), list)]
            annotations = [_regions([_flat(item) for item in each["result"]]) for each in made]
        tasks.append(_Task(f"task {row.get('id', number)}", picture, annotations))
    return tasks


def _picture(data: dict[str, Any]) -> str | None:
    """The picture's address among a task's data."""
    for text in data.values():
        if isinstance(text, str) and PurePosixPath(_address(text)).suffix.lower() in IMAGE_SUFFIXES:
            return text
    return None


def _flat(item: Any) -> Any:
    """A region of the whole export as the short one has it: its value and its picture's size in one mapping."""
    if not isinstance(item, dict) or not isinstance(item.get("value"), dict):
        return None
    return {**item["value"], **{key: value for key, value in item.items() if key.startswith(("original_", "image_"))}}


def _regions(items: list[Any]) -> list[dict[str, Any]]:
    """What marks a place in the picture; answers about the picture as a whole are no regions."""
    return [item for item in items if isinstance(item, dict) and {"x", "points", "rle", "format"} & item.keys()]


def _label(region: dict[str, Any]) -> str | None:
    """The one label of a region; None where it has none, or one that is no class name."""
    labels = next((value for key, value in region.items() if key.endswith("labels")), None)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        return None
    label = labels[0].strip()
    return None if unfit(label) else label


def _address(text: str) -> str:
    """The path within an address: `/data/local-files/?d=a/b.jpg`, `/data/upload/1/1f2e3d4c-b.jpg`, `s3://bucket/b.jpg`."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    return (parse_qs(parts.query).get("d") or [unquote(parts.path)])[0].replace("\\", "/")


def _locate(picture: str, folder: Path, roots: Roots) -> Path | None:
    """The picture's file: by as much of its path as there is here, else without the code that uploads get in front."""
    parts = [part for part in _address(picture).split("/") if part]
    tails = [os.path.join(*parts[start:]) for start in range(len(parts))]
    tails += [re.sub(r"^[0-9a-f]{8}-", "", tail) for tail in tails[-1:]]
    for tail in tails:
        for home in (folder, folder / "images"):
            file = Path(os.path.normpath(home / tail))
            if is_there(file) and roots.holds(file):
                return file
    return None


def _sample(
    file: Path,
    size: tuple[int, int],
    regions: list[dict[str, Any]],
    names: tuple[str, ...],
    path: Path,
    where: str,
    problems: Problems,
) -> Sample:
    boxes, classes = [], []
    for region in regions:
        label = _label(region)
        found = _box(region, size) if label in names else f"label {label!r} of {str(region)[:60]}"
        if isinstance(found, str):
            problems.add(path, where, found, f"{_SHAPES}, among {', '.join(names)[:200]}", boxes=1)
            continue
        box = problems.usable(found, size, path, where, _SHAPES)
        if box is not None and label is not None:
            boxes.append(box)
            classes.append(names.index(label))
    return Sample(file, *size, as_boxes(boxes), np.array(classes, np.int64))


def _stated(region: dict[str, Any], size: tuple[int, int]) -> tuple[Any, Any]:
    """Width and height that the picture had while it was labelled; `size` where they are not stated."""
    return region.get("original_width", size[0]), region.get("original_height", size[1])


def _box(region: dict[str, Any], size: tuple[int, int]) -> Box | str:
    """Corners in pixels of the box around a region; or what was found instead."""
    try:
        if region.get("image_rotation"):
            return f"a picture turned by {float(region['image_rotation']):g} degrees while it was labelled"
        if "points" in region:
            points = np.array(region["points"], np.float64).reshape(-1, 2) * size / 100
        else:
            x, y, w, h = (float(region[key]) for key in ("x", "y", "width", "height"))
            turn = math.radians(float(region.get("rotation") or 0))  # clockwise, about the corner (x, y)
            across = np.array([math.cos(turn), math.sin(turn)]) * w * size[0] / 100
            down = np.array([-math.sin(turn), math.cos(turn)]) * h * size[1] / 100
            corner = np.array([x * size[0], y * size[1]]) / 100
            points = np.stack([corner, corner + across, corner + down, corner + across + down])
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    except (KeyError, TypeError, ValueError, OverflowError):
        return f"region {str(region)[:60]}"
    return x1, y1, x2, y2
