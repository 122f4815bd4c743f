"""COCO JSON: the annotation file of research and of most labelling tools."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from vision_lora.datasets.paths import Roots, readable_size
from vision_lora.datasets.sample import Problems, Sample, as_boxes, clip_box
from vision_lora.errors import DataError


def read_coco(
    path: Path, problems: Problems, *, names: tuple[str, ...] | None = None, roots: Roots | None = None
) -> tuple[tuple[str, ...], list[Sample]]:
    """Read one COCO JSON: the pictures in the file's order, the categories mapped to 0..N-1 in the order of their ids.

    Args:
        path: the JSON file.
        problems: takes what is skipped.
        names: class names that the categories must match by name (where a yaml names them for several files).
        roots: folders that the pictures must lie in; without it, the JSON's folder or, under `annotations`, its parent.

    Returns:
        Class names by index, and the samples.

    Raises:
        DataError: not JSON, or not COCO's three lists; a category that `names` lacks; no picture folder.
    """
    data = _load(path)
    ids = {int(category["id"]): str(category["name"]) for category in data["categories"]}
    in_order = tuple(ids[number] for number in sorted(ids))
    names = names or in_order
    unknown = [name for name in in_order if name not in names]
    if unknown:
        raise DataError(f"{path}: category {unknown[0]!r} is not among the names {', '.join(names)[:200]}")
    class_of = {number: names.index(name) for number, name in ids.items()}

    folder = picture_folder(path, data["images"])
    roots = roots or Roots(folder)
    rows: dict[int, list[tuple[int, tuple[float, float, float, float]]]] = {}
    sizes: dict[int, tuple[Path, int, int]] = {}
    for image in data["images"]:
        where = f"image {image.get('id')}"
        file = Path(os.path.normpath(folder / str(image.get("file_name", ""))))
        if not roots.holds(file):
            problems.add(path, where, f"file_name {image.get('file_name')!r} leaves {folder}", "a picture inside it")
            continue
        size = readable_size(file, problems)
        if size is not None:
            sizes[image["id"]] = (file, *size)
            rows[image["id"]] = []
    for annotation in data["annotations"]:
        image_id = annotation.get("image_id")
        if image_id not in sizes:
            continue
        where = f"annotation {annotation.get('id')}"
        if annotation.get("category_id") not in class_of:
            problems.add(path, where, f"category_id {annotation.get('category_id')}", f"one of {sorted(class_of)[:20]}")
            continue
        x, y, w, h = annotation["bbox"]
        _, width, height = sizes[image_id]
        box = clip_box(x, y, x + w, y + h, width, height)
        if isinstance(box, str):
            problems.add(path, where, box, f"x, y, width, height in pixels of the {width} x {height} picture")
        else:
            rows[image_id].append((class_of[annotation["category_id"]], box))
    samples = [
        Sample(
            file, width, height, as_boxes([box for _, box in rows[key]]), np.array([c for c, _ in rows[key]], np.int64)
        )
        for key, (file, width, height) in sizes.items()
    ]
    return names, samples


def picture_folder(path: Path, images: list[dict[str, Any]]) -> Path:
    """The folder that holds the first picture: beside the JSON, or where common layouts keep it.

    Raises:
        DataError: found nowhere.
    """
    home = path.parent.parent if path.parent.name == "annotations" else path.parent
    split = path.stem.removeprefix("instances_")
    candidates = [home / "images" / split, home / split, home / "images", path.parent, home]
    first = str(images[0].get("file_name", "")) if images else ""
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise DataError(f"{path}: picture {first!r} is in none of {looked}; expected the pictures beside the JSON")


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); expected a COCO annotation file") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(f"{path}: no list `{key}`; expected COCO's `images`, `annotations` and `categories`")
    return data
