"""COCO JSON: the annotation file of research and of most labelling tools."""

from __future__ import annotations

import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vision_lora.datasets.formats.class_names import class_names
from vision_lora.datasets.formats.masks import mask_box
from vision_lora.datasets.formats.paths import A_PICTURE, Roots, is_there, other_size, picture_size
from vision_lora.datasets.sample import Problems, Sample
from vision_lora.errors import DataError
from vision_lora.system.files import INDEX_BYTES, read_bytes
from vision_lora.text.names import suggestion


class _Annotation(NamedTuple):
    """What is kept of an annotation while the file is parsed: a million full dictionaries would take gigabytes."""

    id: Any
    image_id: Any
    category_id: Any
    box: Any  # x, y, width, height; or, where there is no usable one, what was found
    ignored: bool
    area: float  # of the object's outline, square pixels; NaN where it is not told


def read_coco(
    path: Path,
    problems: Problems,
    *,
    names: tuple[str, ...] | None = None,
    folder: Path | None = None,
    roots: Roots | None = None,
) -> tuple[tuple[str, ...], list[Sample]]:
    """Read one COCO JSON: the pictures in the file's order, the categories mapped to 0..N-1 in the order of their ids.

    Annotations with `iscrowd` or `ignore` become ignored regions (pycocotools overlooks `ignore`); one without `bbox`
    gets the box around its mask.

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
    ids = _categories(data["categories"], path, problems)
    names = names or tuple(ids[number] for number in sorted(ids))
    unknown = [name for name in ids.values() if name not in names]
    if unknown:
        told = suggestion(unknown[0], names)
        raise DataError(f"{path}: category {told} is not among the names {', '.join(names)[:200]}")
    class_of = {number: names.index(name) for number, name in ids.items()}

    folder = folder or _picture_folder(path, data["images"])
    problems.ledger.settle(path, "used")
    problems.ledger.boxes += len(data["annotations"])
    counts = Counter(each.image_id for each in data["annotations"] if isinstance(each, _Annotation))
    pictures, skipped = _pictures(data["images"], counts, path, folder, roots or Roots(folder), problems)
    rows = _Rows()
    for annotation in data["annotations"]:
        if not isinstance(annotation, _Annotation):
            expected = "`image_id`, `category_id` and `bbox`"
            problems.add(path, "annotations", f"{str(annotation)[:60]!r}", expected, boxes=1)
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
    """Boxes as they come, in flat arrays: 41 bytes each."""

    def __init__(self) -> None:
        self.places, self.classes, self.corners, self.ignored = array("q"), array("q"), array("f"), array("b")
        self.areas = array("d")

    def samples(self, pictures: Sequence[_Picture]) -> list[Sample]:
        """The boxes sorted out to their pictures, in the file's order."""
        places = np.frombuffer(self.places, np.int64) if self.places else np.zeros(0, np.int64)
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(pictures) + 1))
        classes = np.array(self.classes, np.int64)[order]
        corners = np.array(self.corners, np.float32).reshape(-1, 4)[order]
        ignored = np.array(self.ignored, np.bool_)[order]
        areas = np.array(self.areas, np.float64)[order]
        samples = []
        for picture, start, stop in zip(pictures, bounds, bounds[1:], strict=False):
            rest = ignored[start:stop]
            boxes, kinds = corners[start:stop], classes[start:stop]
            regions = boxes[rest], kinds[rest]
            samples.append(Sample(*picture[1:], boxes[~rest], kinds[~rest], *regions, areas=areas[start:stop][~rest]))
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
        problems.add(path, where, f"image_id {annotation.image_id!r}", "the id of one of `images`", boxes=1)
        return
    if annotation.category_id not in class_of:
        expected = f"one of {sorted(class_of)[:20]}"
        problems.add(path, where, f"category_id {annotation.category_id!r}", expected, boxes=1)
        return
    expected = f"x, y, width, height in pixels of the {picture.width} x {picture.height} picture"
    if isinstance(annotation.box, str):
        problems.add(path, where, annotation.box, expected, boxes=1)
        return
    x, y, w, h = annotation.box
    box = problems.usable((x, y, x + w, y + h), (picture.width, picture.height), path, where, expected)
    if box is None:
        return
    rows.places.append(picture.place)
    rows.classes.append(class_of[annotation.category_id])
    rows.corners.extend(box)
    rows.ignored.append(annotation.ignored)
    rows.areas.append((box[2] - box[0]) * (box[3] - box[1]) if math.isnan(annotation.area) else annotation.area)


def _pictures(
    images: list[Any], counts: Counter[Any], path: Path, folder: Path, roots: Roots, problems: Problems
) -> tuple[dict[Any, _Picture], set[Any]]:
    """Pictures by id, and the ids of those that are skipped, with as many boxes as `counts` has of each."""
    found: dict[Any, _Picture] = {}
    skipped: set[Any] = set()
    for place, image in enumerate(images):
        if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
            entry = f"{path}, images {place}"
            problems.add(path, "images", f"{str(image)[:60]!r}", "a mapping with `id` and `file_name`", files=[entry])
            continue
        key, where = image["id"], f"image {image['id']}"
        if key in found or key in skipped:
            expected = "each id once (the first picture keeps it)"
            problems.add(path, where, "an id that another picture has", expected, files=[_named(image, path, folder)])
            continue
        usable = _usable_picture(image, folder, roots)
        if isinstance(usable, _Picture):
            problems.ledger.see(usable.file)
            found[key] = usable._replace(place=len(found))
            continue
        skipped.add(key)
        problems.add(path, where, *usable, boxes=counts[key], files=[_named(image, path, folder)])
    return found, skipped


def _named(image: dict[str, Any], path: Path, folder: Path) -> str:
    """The file that an entry of `images` names; or, where it names none, the place of the entry."""
    name = image.get("file_name")
    return os.path.normpath(folder / name) if isinstance(name, str) and name else f"{path}, image {image['id']}"


def _usable_picture(image: dict[str, Any], folder: Path, roots: Roots) -> _Picture | tuple[str, str]:
    """The picture of an entry of `images`; or what was found and what was expected."""
    name = image.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        return f"file_name {name!r}", f"the name of a picture in {folder}"
    file = Path(os.path.normpath(folder / name))
    if not roots.holds(file):
        return f"file_name {name!r} leaves {folder}", "a picture inside it"
    size = picture_size(file, roots)
    if isinstance(size, str):
        return f"{file}: {size}", A_PICTURE
    stated = (image.get("width", size[0]), image.get("height", size[1]))
    return other_size(stated, size, file) or _Picture(0, file, *size)


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


def _categories(categories: list[Any], path: Path, problems: Problems) -> dict[int, str]:
    """Category names by id."""
    ids: dict[int, Any] = {}
    for category in categories:
        if not isinstance(category, dict) or not isinstance(category.get("id"), int) or "name" not in category:
            raise DataError(
                f"{path}: category {str(category)[:60]!r}; expected a mapping with a number `id` and a `name`"
            )
        if category["id"] in ids:
            raise DataError(f"{path}: category {category['id']} stands twice; expected each id once")
        ids[category["id"]] = category["name"]
    if not ids:
        raise DataError(f"{path}: `categories` is empty; expected at least one with `id` and `name`")
    return dict(zip(ids, class_names(list(ids.values()), path, problems), strict=True))


def _load(path: Path) -> dict[str, Any]:
    """Parse the JSON; its annotations come out slim."""
    try:
        parsed = json.loads(read_bytes(path, INDEX_BYTES), object_hook=_slim)
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
        (_numbers([value.get("area")] * 4) or (math.nan,))[0],
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
    ids = _categories(data["categories"], path, Problems())
    return files, {name: number for number, name in ids.items()}
