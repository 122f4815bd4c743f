"""COCO JSON: the annotation file of research and of most labelling tools."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vision_lora.datasets.masks import mask_box
from vision_lora.datasets.paths import Roots, is_there, readable_size
from vision_lora.datasets.sample import Problems, Sample
from vision_lora.errors import DataError


class _Annotation(NamedTuple):
    """What is kept of an annotation while the file is parsed: a million full dictionaries would take gigabytes."""

    id: Any
    image_id: Any
    category_id: Any
    box: Any  # x, y, width, height; or, where there is no usable one, what was found
    ignored: bool


def read_coco(
    path: Path,
    problems: Problems,
    *,
    names: tuple[str, ...] | None = None,
    folder: Path | None = None,
    roots: Roots | None = None,
) -> tuple[tuple[str, ...], list[Sample]]:
    """Read one COCO JSON: the pictures in the file's order, the categories mapped to 0..N-1 in the order of their ids.

    Annotations with `iscrowd` or `ignore` become ignored regions; one without `bbox` gets the box around its mask.

    Args:
        path: the JSON file.
        problems: takes what is skipped.
        names: class names that the categories must match by name (where something else names them for several files).
        folder: where `file_name` starts from; by default beside the JSON or where common layouts keep pictures.
        roots: folders that the pictures must lie in; by default `folder`.

    Returns:
        Class names by index, and the samples.

    Raises:
        DataError: not JSON, or not COCO's three lists; a category that `names` lacks; no picture folder.
    """
    data = _load(path)
    ids = _categories(data["categories"], path)
    names = names or tuple(ids[number] for number in sorted(ids))
    unknown = [name for name in ids.values() if name not in names]
    if unknown:
        raise DataError(f"{path}: category {unknown[0]!r} is not among the names {', '.join(names)[:200]}")
    class_of = {number: names.index(name) for number, name in ids.items()}

    folder = folder or _picture_folder(path, data["images"])
    pictures, skipped = _pictures(data["images"], path, folder, roots or Roots(folder), problems)
    rows = _Rows()
    for annotation in data["annotations"]:
        if not isinstance(annotation, _Annotation):
            problems.add(path, "annotations", f"{str(annotation)[:60]!r}", "`image_id`, `category_id` and `bbox`")
        elif annotation.image_id not in skipped:
            _take(annotation, path, pictures, class_of, rows, problems)
    return names, rows.samples(list(pictures.values()))


class _Picture(NamedTuple):
    """A picture of the file, and its place in the list of samples."""

    place: int
    file: Path
    width: int
    height: int


class _Rows:
    """Boxes as they come, in flat arrays: 21 bytes each."""

    def __init__(self) -> None:
        self.places, self.classes, self.corners, self.ignored = array("q"), array("q"), array("f"), array("b")

    def samples(self, pictures: Sequence[_Picture]) -> list[Sample]:
        """The boxes sorted out to their pictures, in the file's order."""
        places = np.frombuffer(self.places, np.int64) if self.places else np.zeros(0, np.int64)
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(pictures) + 1))
        classes = np.array(self.classes, np.int64)[order]
        corners = np.array(self.corners, np.float32).reshape(-1, 4)[order]
        ignored = np.array(self.ignored, np.bool_)[order]
        samples = []
        for picture, start, stop in zip(pictures, bounds, bounds[1:], strict=False):
            rest = ignored[start:stop]
            boxes = corners[start:stop]
            samples.append(Sample(*picture[1:], boxes[~rest], classes[start:stop][~rest], ignored=boxes[rest]))
        return samples


def _take(
    annotation: _Annotation,
    path: Path,
    pictures: dict[Any, _Picture],
    class_of: dict[int, int],
    rows: _Rows,
    problems: Problems,
) -> None:
    """Check one annotation and add it to the rows."""
    where = f"annotation {annotation.id}"
    picture = pictures.get(annotation.image_id)
    if picture is None:
        problems.add(path, where, f"image_id {annotation.image_id!r}", "the id of one of `images`")
        return
    if annotation.category_id not in class_of:
        problems.add(path, where, f"category_id {annotation.category_id!r}", f"one of {sorted(class_of)[:20]}")
        return
    expected = f"x, y, width, height in pixels of the {picture.width} x {picture.height} picture"
    if isinstance(annotation.box, str):
        problems.add(path, where, annotation.box, expected)
        return
    x, y, w, h = annotation.box
    box = problems.usable((x, y, x + w, y + h), (picture.width, picture.height), path, where, expected)
    if box is None:
        return
    rows.places.append(picture.place)
    rows.classes.append(class_of[annotation.category_id])
    rows.corners.extend(box)
    rows.ignored.append(annotation.ignored)


def _pictures(
    images: list[Any], path: Path, folder: Path, roots: Roots, problems: Problems
) -> tuple[dict[Any, _Picture], set[Any]]:
    """Pictures by id, and the ids of those that are skipped."""
    found: dict[Any, _Picture] = {}
    skipped: set[Any] = set()
    for image in images:
        if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
            problems.add(path, "images", f"{str(image)[:60]!r}", "a mapping with `id` and `file_name`")
            continue
        key, name, where = image["id"], image.get("file_name"), f"image {image['id']}"
        if key in found or key in skipped:
            problems.add(path, where, "an id that another picture has", "each id once (the first picture keeps it)")
            continue
        skipped.add(key)
        if not isinstance(name, str) or not name or "\0" in name:
            problems.add(path, where, f"file_name {name!r}", f"the name of a picture in {folder}")
            continue
        file = Path(os.path.normpath(folder / name))
        if not roots.holds(file):
            problems.add(path, where, f"file_name {name!r} leaves {folder}", "a picture inside it")
            continue
        size = readable_size(file, problems)
        if size is None:
            continue
        stated = (image.get("width", size[0]), image.get("height", size[1]))
        if stated != size:
            found_size = f"{size[0]} x {size[1]}" + (" (upright)" if stated == size[::-1] else "")
            problems.add(path, where, f"size {stated[0]} x {stated[1]}", f"{found_size}, as in {file}")
            continue
        skipped.discard(key)
        found[key] = _Picture(len(found), file, *size)
    return found, skipped


def _picture_folder(path: Path, images: list[Any]) -> Path:
    """The folder that holds the first picture: beside the JSON, or where common layouts keep it.

    Raises:
        DataError: found nowhere.
    """
    home = path.parent.parent if path.parent.name == "annotations" else path.parent
    split = path.stem.removeprefix("instances_")
    candidates = [home / "images" / split, home / split, home / "images", path.parent, home]
    names = [
        image["file_name"] for image in images if isinstance(image, dict) and isinstance(image.get("file_name"), str)
    ]
    if not names:
        raise DataError(f"{path}: no picture in `images`; expected at least one with a `file_name`")
    # Any of the first few will do: one missing picture must not hide the others.
    for folder in candidates:
        if any(is_there(folder / name) for name in names[:20]):
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"{path}: picture {names[0]!r} is in none of {looked}; expected the pictures beside the JSON")


def _categories(categories: list[Any], path: Path) -> dict[int, str]:
    """Category names by id."""
    ids: dict[int, str] = {}
    for category in categories:
        if not isinstance(category, dict) or not isinstance(category.get("id"), int) or not category.get("name"):
            raise DataError(
                f"{path}: category {str(category)[:60]!r}; expected a mapping with a number `id` and a `name`"
            )
        if category["id"] in ids or str(category["name"]) in ids.values():
            raise DataError(
                f"{path}: category {category['id']} ({category['name']!r}) stands twice; expected each once"
            )
        ids[category["id"]] = str(category["name"])
    if not ids:
        raise DataError(f"{path}: `categories` is empty; expected at least one with `id` and `name`")
    return ids


def _load(path: Path) -> dict[str, Any]:
    """Parse the JSON; its annotations come out slim."""
    try:
        parsed = json.loads(path.read_bytes(), object_hook=_slim)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); expected a COCO annotation file") from None
    data: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            raise DataError(f"{path}: no list `{key}`; expected COCO's `images`, `annotations` and `categories`")
    return data


def _numbers(box: Any) -> tuple[float, ...] | None:
    """Four numbers as floats; None for anything else."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(number, (int, float)) for number in box):
        return None
    try:
        return tuple(map(float, box))
    except OverflowError:  # JSON's integers have no bounds
        return None


def _slim(value: dict[str, Any]) -> Any:
    """Keep of an annotation what a sample needs, as soon as it is parsed; everything else passes."""
    if "image_id" not in value or "category_id" not in value:
        return value
    key = value["image_id"]
    box = value.get("bbox")
    if not box and value.get("segmentation"):
        try:
            box = mask_box(value["segmentation"])
        except ValueError as error:
            box = str(error)
    else:
        box = _numbers(box) or f"bbox {box!r:.60}"
    return _Annotation(
        value.get("id"),
        key if isinstance(key, (int, str)) else str(key),
        value["category_id"] if isinstance(value["category_id"], int) else str(value["category_id"]),
        box,
        bool(value.get("iscrowd") or value.get("ignore")),
    )


def coco_pictures(path: Path) -> tuple[dict[int | str, Path], dict[str, int]]:
    """The picture files of a COCO JSON by id, and the ids of its categories by name; whatever else stands there.

    Raises:
        DataError: not JSON, or not COCO's lists; no picture folder, or a picture outside of it.
    """
    data = _load(path)
    folder = _picture_folder(path, data["images"])
    roots, files = Roots(folder), dict[int | str, Path]()
    for image in data["images"]:
        key, name = (image.get("id"), image.get("file_name")) if isinstance(image, dict) else (None, None)
        if not isinstance(key, (int, str)) or key in files or not isinstance(name, str) or "\0" in name:
            raise DataError(f"{path}: images: {str(image)[:60]!r}; expected an `id` of its own and a `file_name`")
        files[key] = Path(os.path.normpath(folder / name))
        roots.require(files[key], path)
    return files, {name: number for number, name in _categories(data["categories"], path).items()}
