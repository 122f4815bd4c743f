"""Pascal VOC: one XML file a picture."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from vision_lora.datasets.class_names import class_names
from vision_lora.datasets.paths import Roots, image_files, is_there, readable_size
from vision_lora.datasets.sample import Box, Dataset, Problems, Sample, as_boxes
from vision_lora.errors import DataError
from vision_lora.names import unfit

_FOLDERS = ("JPEGImages", "images", "IMAGES")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}

Row = tuple[str, Box, bool]  # class name, corners as VOC counts them, difficult


def find_voc(folder: Path) -> dict[str, list[Path]]:
    """XML files by split, of a folder in one of VOC's layouts.

    Those are `Annotations/*.xml` beside `JPEGImages` (with the splits in `ImageSets/Main/*.txt`, if there), and
    `train/*.xml`, `val/*.xml`, `test/*.xml` beside their pictures. No XML at all gives an empty mapping.

    Raises:
        DataError: a list in `ImageSets/Main` names an XML that does not exist.
    """
    annotations = folder / "Annotations"
    if annotations.is_dir():
        files = {file.stem: file for file in sorted(annotations.glob("*.xml"))}
        splits: dict[str, list[Path]] = {}
        for split in ("train", "val", "test"):
            listed = folder / "ImageSets" / "Main" / f"{split}.txt"
            if listed.is_file():
                stems = listed.read_text(encoding="utf-8-sig").split()
                missing = [stem for stem in stems if stem not in files]
                if missing:
                    raise DataError(f"{listed}: names {missing[0]!r}; expected a file {annotations / missing[0]}.xml")
                splits[split] = [files[stem] for stem in stems]
        return splits or ({"train": list(files.values())} if files else {})
    found = {
        split: sorted((folder / name).glob("*.xml")) for name, split in _SPLITS.items() if (folder / name).is_dir()
    }
    if not any(found.values()):
        found = {"train": sorted(folder.glob("*.xml"))}
    return {split: files for split, files in found.items() if files}


def read_voc(folder: Path, splits: dict[str, list[Path]], problems: Problems) -> Dataset:
    """Read VOC annotations. Class names come from `classes.txt`, one a line; without it, from the files, sorted.

    VOC counts pixels from 1 and includes the last one: `xmin` 1, `xmax` 200 is the whole of a picture 200 pixels wide.
    Objects marked `difficult` become ignored regions.

    Args:
        folder: the dataset's folder.
        splits: XML files by split, from `find_voc`.
        problems: takes what is skipped.

    Raises:
        DataError: no class at all, or a split without a usable picture.
    """
    roots = Roots(folder)
    parsed = {split: _parse_all(files, folder, roots, problems) for split, files in splits.items()}
    listed = folder / "classes.txt"
    if listed.is_file():
        found = [line.strip() for line in listed.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    else:
        listed = folder
        found = sorted({row[0] for files in parsed.values() for *_, rows in files for row in rows})
    if not found:
        raise DataError(f"{folder}: no object in any XML; expected at least one <object> with a <name>")
    names = class_names(found, listed, problems)
    samples = {
        split: [_sample(xml, image, size, rows, names, problems) for xml, image, size, rows in files]
        for split, files in parsed.items()
    }
    for split, usable in samples.items():
        if not usable:
            raise DataError(f"{folder}: split `{split}` has no usable picture; expected at least one")
    return Dataset(folder, names, samples, problems.found, problems.mended)


def parse_xml(path: Path, problems: Problems) -> tuple[str, list[Row]] | None:
    """The picture's file name and the objects of one XML; None and a problem where it is no VOC annotation."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        # Entities are how a small XML becomes a huge one or reads other files; VOC needs no DTD at all.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            problems.add(path, "", "a document type or entity declaration", "plain VOC XML, which needs none")
            return None
        root = ET.fromstring(text)  # noqa: S314 (without a DTD there is nothing to attack with)
    except UnicodeDecodeError as error:
        problems.add(path, f"byte {error.start}", "bytes that are no UTF-8", "VOC XML in UTF-8")
        return None
    except (ET.ParseError, RecursionError, ValueError) as error:
        problems.add(path, "", f"broken XML ({error})", "VOC XML")
        return None
    if root.tag != "annotation":
        problems.add(path, "", f"<{root.tag}>", "<annotation>")
        return None
    rows: list[Row] = []
    for number, element in enumerate(root.iter("object"), start=1):
        name = (element.findtext("name") or "").strip()
        values = [element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(value or "") for value in values)
        except ValueError:
            problems.add(path, f"object {number}", f"bndbox {values}", "numbers in xmin, ymin, xmax, ymax")
            continue
        if not name:
            problems.add(path, f"object {number}", "no name", "a class name in <name>")
            continue
        if reason := unfit(name):
            problems.add(path, f"object {number}", f"class name {name[:60]!r}, which {reason}", "a name on one line")
            continue
        rows.append((name, (x1, y1, x2, y2), (element.findtext("difficult") or "0").strip() == "1"))
    return (root.findtext("filename") or "").strip(), rows


def _parse_all(
    files: list[Path], folder: Path, roots: Roots, problems: Problems
) -> list[tuple[Path, Path, tuple[int, int], list[Row]]]:
    """XML, picture, size and objects of every usable annotation."""
    places = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    by_stem = {image.stem: image for place in places for image in image_files(place, roots, problems)}
    found = []
    for xml in files:
        if not roots.holds(xml):
            problems.add(xml, "", "a link that leaves the dataset's folder", "a file inside it")
            continue
        parsed = parse_xml(xml, problems)
        if parsed is None:
            continue
        filename, rows = parsed
        image = by_stem.get(xml.stem) or _beside(xml, filename)
        if image is None or not roots.holds(image):
            problems.add(
                xml, "", f"filename {filename!r}, which is not there", f"a picture {xml.stem}.* of this folder"
            )
            continue
        size = readable_size(image, problems)
        if size is not None:
            found.append((xml, image, size, rows))
    return found


def _beside(xml: Path, filename: str) -> Path | None:
    """The picture beside its XML: of the same stem, else of the name that the XML states."""
    for name in (*(xml.stem + suffix for suffix in (".jpg", ".png", ".jpeg", ".bmp")), filename):
        path = Path(os.path.normpath(xml.parent / name))
        if name and is_there(path) and path.is_file():
            return path
    return None


def _sample(
    xml: Path, image: Path, size: tuple[int, int], rows: list[Row], names: tuple[str, ...], problems: Problems
) -> Sample:
    width, height = size
    boxes: tuple[list[Box], list[Box]] = ([], [])  # those that count, and those to ignore
    classes: tuple[list[int], list[int]] = ([], [])
    for number, (name, (x1, y1, x2, y2), difficult) in enumerate(rows, start=1):
        where = f"object {number}"
        if name not in names:
            problems.add(xml, where, f"class {name!r}", f"one of {', '.join(names)[:200]}")
            continue
        expected = f"xmin, ymin, xmax, ymax in pixels of the {width} x {height} picture"
        box = problems.usable((x1 - 1, y1 - 1, x2, y2), size, xml, where, expected)
        if box is None:
            continue
        boxes[difficult].append(box)
        classes[difficult].append(names.index(name))
    ours, ignored = ((as_boxes(b), np.array(c, np.int64)) for b, c in zip(boxes, classes, strict=True))
    return Sample(image, width, height, *ours, *ignored)
