"""Detections as COCO results, and the pictures and classes that their ids stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from vision_lora.errors import OutputError
from vision_lora.pictures.detections import Detections
from vision_lora.system.outputs import write_json


class Pictured(Protocol):
    """A picture as COCO's forms tell of it, see `FileFrame`: pixels are not asked for."""

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> int | None: ...
    @property
    def image_id(self) -> int | str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class CocoResults:
    """Rows that pycocotools' `loadRes` takes, against a file with the same ids.

    Args:
        categories: ids of class names where a COCO file gives them; other classes get those behind them. Without it
            each class has its place among the detector's, from 1: the base's own first, an adapter's behind them.
    """

    def __init__(self, categories: Mapping[str, int]) -> None:
        self._given = categories
        self._categories: list[dict[str, Any]] = []  # of the detector's classes, in their order
        self.images: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, frame: Pictured, found: Detections) -> None:
        """Take the detections in one picture, boxes in its pixels."""
        if not self._categories:
            self._number(found)
        place: dict[str, Any] = {"file_name": frame.name} | ({} if frame.index is None else {"frame": frame.index})
        self.images.append({"id": frame.image_id, **place, "width": frame.width, "height": frame.height})
        for index, (x1, y1, x2, y2) in enumerate(found.boxes.tolist()):
            category = self._categories[int(found.classes[index])]
            self.rows.append(
                {
                    "image_id": frame.image_id,
                    "category_id": category["id"],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(found.scores[index]),
                    **place,
                    "category_name": category["name"],
                    "source": category["supercategory"],
                }
            )

    def write(self, path: Path) -> None:
        """Write the rows, and beside them, in COCO's form as well, `images` and `categories`.

        Raises:
            OutputError: one of them cannot be written; says where it was kept.
        """
        categories = {category["id"]: category for category in self._categories}  # one that the file gives may be two's
        legend = {"info": {}, "images": self.images, "annotations": [], "categories": list(categories.values())}
        failed = [told for told in (_fault(path, self.rows), _fault(legend_file(path), legend)) if told]
        if failed:
            raise OutputError("; ".join(failed))

    def _number(self, found: Detections) -> None:
        """Give each class its id."""
        after = max(self._given.values(), default=0)
        for index, name in enumerate(found.names):
            source = "general" if index < found.general else "defects"
            # Where both vocabularies have a name, the adapter's is what the file's objects are called.
            theirs = name in self._given and (source == "defects" or name not in found.names[found.general :])
            number = self._given[name] if theirs else after + index + 1
            self._categories.append({"id": number, "name": name, "supercategory": source})


def _fault(path: Path, value: Any) -> str:
    """Write JSON; gives why that could not be done."""
    try:
        write_json(path, value)
    except OutputError as error:
        return str(error)
    return ""


def legend_file(path: Path) -> Path:
    """The file with images and categories for the results in `path`.

    Examples:
        >>> legend_file(Path("found.json"))
        PosixPath('found.images.json')
    """
    return path.with_name(f"{path.stem}.images.json")
