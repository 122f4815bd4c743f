"""Pascal VOC: one XML file a picture."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vision_lora.datasets.formats.class_names import class_names
from vision_lora.datasets.formats.paths import A_PICTURE, Roots, is_there, not_needed, other_size, picture_size, walk
from vision_lora.datasets.sample import Box, Dataset, Problems, Sample, as_boxes
from vision_lora.errors import DataError
from vision_lora.pictures.images import IMAGE_SUFFIXES
from vision_lora.system.files import INDEX_BYTES, LABEL_BYTES, irregular, read_text
from vision_lora.text.names import unfit

_FOLDERS = ("JPEGImages", "images", "IMAGES")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


class _Object(NamedTuple):
    """An <object> that is sound by itself: its number in the file, and its box as VOC counts pixels."""

    number: int
    name: str
    box: Box
    difficult: bool


class _Parsed(NamedTuple):
    """What an XML says: the picture, its size as far as it is stated, and the objects; and those that are broken."""

    filename: str
    stated: tuple[int, int] | None
    objects: list[_Object]
    broken: list[tuple[int, str, str]]  # number, what was found, what was expected


class _Labelled(NamedTuple):
    """A picture with its annotation.

    Args:
        placed: whether the objects were drawn on this picture; otherwise each may be anywhere in it.
    """

    xml: Path
    image: Path
    size: tuple[int, int]
    objects: list[_Object]
    placed: bool


def find_voc(folder: Path) -> dict[str, list[Path]]:
    """XML files by split, of a folder in one of VOC's layouts.

    Those are `Annotations/*.xml` beside `JPEGImages` (with the splits in `ImageSets/Main/*.txt`, if there), and
    `train/*.xml`, `val/*.xml`, `test/*.xml` beside their pictures. No XML at all gives an empty mapping.

    Raises:
        DataError: a list in `ImageSets/Main` names an XML that does not exist; both `val` and `valid`.
    """
    annotations = folder / "Annotations"
    if annotations.is_dir():
        files = {file.stem: file for file in _xmls(annotations)}
        splits: dict[str, list[Path]] = {}
        for split in ("train", "val", "test"):
            listed = folder / "ImageSets" / "Main" / f"{split}.txt"
            if os.path.lexists(listed):
                stems = read_text(listed, INDEX_BYTES).split()
                missing = [stem for stem in stems if stem not in files]
                if missing:
                    raise DataError(f"{listed}: names {missing[0]!r}; expected a file {annotations / missing[0]}.xml")
                splits[split] = [files[stem] for stem in stems]
        return splits or ({"train": list(files.values())} if files else {})
    found: dict[str, list[Path]] = {}
    for name, split in _SPLITS.items():
        files_of_split = _xmls(folder / name)
        if files_of_split and split in found:
            raise DataError(f"{folder}: both `val` and `valid` hold annotations; expected one of them")
        if files_of_split:
            found[split] = files_of_split
    if not found and (files_here := _xmls(folder)):
        found["train"] = files_here
    return found


def read_voc(folder: Path, splits: dict[str, list[Path]], problems: Problems) -> Dataset:
    """Read VOC annotations. Class names come from `classes.txt`, one a line; without it, from the files, sorted.

    VOC counts pixels from 1 and includes the last one: `xmin` 1, `xmax` 200 is the whole of a picture 200 pixels wide.
    Objects marked `difficult` become ignored regions. So does the whole picture for objects of an XML that
    states another size: they are in it, but nobody knows where.

    Args:
        folder: the dataset's folder.
        splits: XML files by split, from `find_voc`.
        problems: takes what is skipped.

    Raises:
        DataError: no class at all, or a split without a usable picture.
    """
    roots = Roots(folder)
    stores = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    own = [folder / "Annotations", *stores] if (folder / "Annotations").is_dir() else [folder]
    files = [file for place in own for file in walk(place, problems)]
    pictures: dict[str, list[Path]] = {}
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            pictures.setdefault(file.stem, []).append(file)
    parsed: dict[str, list[_Labelled]] = {}
    for split, xmls in splits.items():
        before = len(problems.found)
        parsed[split] = _read_all(xmls, pictures, stores, roots, problems)
        if not parsed[split]:
            raise problems.ending(f"{folder}: split `{split}` has no usable picture", before)
    everything = [each for found in parsed.values() for each in found]
    _leftovers(files, {each.image for each in everything}, problems)
    names = _names(folder, everything, problems)
    samples = {split: [_sample(each, names, problems) for each in found] for split, found in parsed.items()}
    return problems.dataset(folder, names, samples)


def _xmls(folder: Path) -> list[Path]:
    """XML files of a folder, in whatever case their ending is; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".xml" and not not_needed(file.name))


def _names(folder: Path, everything: Sequence[_Labelled], problems: Problems) -> tuple[str, ...]:
    """Class names of `classes.txt`; without it those that are in use."""
    listed = folder / "classes.txt"
    if os.path.lexists(listed):
        lines = read_text(listed, LABEL_BYTES).split("\n")
        found = [line.strip() for line in lines if line.strip()]
    else:
        listed = folder
        found = sorted({each.name for labelled in everything for each in labelled.objects})
    if not found:
        raise problems.ending(f"{folder}: no object in any XML; expected an <object> with a <name>")
    return class_names(found, listed, problems)


def _read_all(
    xmls: Sequence[Path],
    pictures: dict[str, list[Path]],
    stores: Sequence[Path],
    roots: Roots,
    problems: Problems,
) -> list[_Labelled]:
    """Every annotation that can be used, with its picture."""
    labelled = []
    for xml in xmls:
        problems.ledger.see(xml)
        near = [
            picture
            for picture in pictures.get(xml.stem, [])
            if picture.parent == xml.parent or any(store in picture.parents for store in stores)
        ]
        parsed = _parse(xml, roots)
        if isinstance(parsed, tuple) and not isinstance(parsed, _Parsed):
            problems.add(xml, *parsed, files=[xml, *near[:1]])
            continue
        objects = parsed.objects
        problems.ledger.boxes += len(objects) + len(parsed.broken)
        for number, found, expected in parsed.broken:
            problems.add(xml, f"object {number}", found, expected, boxes=1)
        image = _picture_of(xml, parsed.filename, near)
        if image is None or not roots.holds(image):
            found = f"filename {parsed.filename!r}, which is not there"
            problems.add(xml, "", found, f"a picture {xml.stem}.* of this folder", boxes=len(objects))
            continue
        problems.ledger.see(image)
        size = picture_size(image, roots)
        if isinstance(size, str):
            problems.add(image, "", size, A_PICTURE, boxes=len(objects), files=[xml])
            continue
        wrong = other_size(parsed.stated, size, image) if parsed.stated is not None else None
        if wrong is not None:
            found, expected = wrong
            problems.add(xml, "size", f"{found}, so the picture is ignored as a whole", expected)
        problems.ledger.settle(xml, "used")
        labelled.append(_Labelled(xml, image, size, objects, placed=wrong is None))
    return labelled


def _picture_of(xml: Path, filename: str, near: Sequence[Path]) -> Path | None:
    """The picture of the same stem, of several the one that the XML states; else that of the stated name, beside it."""
    if near:
        return min(near, key=lambda path: (path.parent != xml.parent, path.name != filename, path))
    beside = Path(os.path.normpath(xml.parent / filename))
    return beside if filename and is_there(beside) else None


def _parse(path: Path, roots: Roots) -> _Parsed | tuple[str, str, str]:
    """What one XML says; or, where it is no VOC annotation: where, what was found, and what was expected."""
    if not roots.holds(path):
        return "", "a link that leaves the dataset's folder", "a file inside it"
    if found := irregular(path):
        return "", found, "VOC XML"
    try:
        text = read_text(path, LABEL_BYTES)
        # Entities are how a small XML becomes a huge one or reads other files; VOC needs no DTD at all.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            return "", "a document type or entity declaration", "plain VOC XML, which needs none"
        root = ET.fromstring(text)  # noqa: S314 (without a DTD there is nothing to attack with)
    except DataError as error:
        return "", str(error).removeprefix(f"{path}: "), "VOC XML"
    except (ET.ParseError, RecursionError, ValueError) as error:
        return "", f"broken XML ({error})", "VOC XML"
    if root.tag != "annotation":
        return "", f"<{root.tag}>", "<annotation>"
    objects, broken = [], []
    for number, element in enumerate(root.iter("object"), start=1):
        name = (element.findtext("name") or "").strip()
        values = [element.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(value or "") for value in values)
        except ValueError:
            broken.append((number, f"bndbox {values}", "numbers in xmin, ymin, xmax, ymax"))
            continue
        if not name:
            broken.append((number, "no name", "a class name in <name>"))
            continue
        if reason := unfit(name):
            broken.append((number, f"class name {name[:60]!r}, which {reason}", "a name on one line"))
            continue
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        objects.append(_Object(number, name, (x1, y1, x2, y2), difficult))
    return _Parsed((root.findtext("filename") or "").strip(), _stated_size(root), objects, broken)


def _stated_size(root: ET.Element) -> tuple[int, int] | None:
    """Width and height of the picture that was labelled; None where they are not stated."""
    try:
        return int(root.findtext("size/width") or ""), int(root.findtext("size/height") or "")
    except ValueError:
        return None


def _leftovers(files: Sequence[Path], used: set[Path], problems: Problems) -> None:
    """Tell what lies in the dataset's folders and belongs to no annotation that was read."""
    bare: dict[Path, list[Path]] = {}
    for file in files:
        if file in used or problems.ledger.fate(file) is not None:
            continue
        if file.suffix.lower() in IMAGE_SUFFIXES:
            bare.setdefault(file.parent, []).append(file)
        else:
            xml = file.suffix.lower() == ".xml"
            problems.leave(
                file, "an XML that no split names" if xml else "a file that is not read", "what a split names"
            )
    for folder, pictures in bare.items():
        problems.leave_together(folder, pictures, "without an XML that is read", "one for each, also for a sound piece")


def _sample(labelled: _Labelled, names: tuple[str, ...], problems: Problems) -> Sample:
    xml, image, (width, height), objects, placed = labelled
    boxes: tuple[list[Box], list[Box]] = ([], [])  # those that count, and those to ignore
    classes: tuple[list[int], list[int]] = ([], [])
    for number, name, (x1, y1, x2, y2), difficult in objects:
        where = f"object {number}"
        if name not in names:
            problems.add(xml, where, f"class {name!r}", f"one of {', '.join(names)[:200]}", boxes=1)
            continue
        expected = f"xmin, ymin, xmax, ymax in pixels of the {width} x {height} picture"
        whole = (0.0, 0.0, float(width), float(height))
        drawn = (x1 - 1, y1 - 1, x2, y2) if placed else whole
        box = problems.usable(drawn, (width, height), xml, where, expected)
        if box is None:
            continue
        boxes[difficult or not placed].append(box)
        classes[difficult or not placed].append(names.index(name))
    ours, ignored = ((as_boxes(b), np.array(c, np.int64)) for b, c in zip(boxes, classes, strict=True))
    return Sample(image, width, height, *ours, *ignored)
