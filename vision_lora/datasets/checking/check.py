"""What is wrong with a dataset, said before it costs a training run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.checking.overlap import Overlap, clusters, find_overlaps, read_squares
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.datasets.split import SHARES, grouped_split
from vision_lora.pictures.boxes import iou
from vision_lora.text.names import same

Severity = Literal["error", "warning", "note"]

MIN_PICTURE = 32  # pixels: the coarsest stride of a detector
MIN_BOX = 4  # pixels at training size: half of the finest stride
DOUBLED = 0.9  # overlap (intersection over union) from which two boxes mark the same thing
FEW = 10  # pictures a class: below it few-shot training becomes a lottery
GOOD = 30  # pictures a class from which few-shot training is dependable
IMBALANCE = 10  # times as many boxes in the largest class as in the smallest


@dataclass(frozen=True)
class Finding:
    """One kind of flaw, with every place where it was seen.

    Args:
        severity: error where training or its score would suffer; warning where it may; note where one should know.
        kind: short name, the same in every report.
        message: one line: what was found, what was expected, what to do.
        where: files or places, one line each.
    """

    severity: Severity
    kind: str
    message: str
    where: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Report:
    """All that `check_dataset` found.

    Args:
        dataset: what was checked.
        samples: all pictures, split after split.
        splits: the split of each picture.
        findings: flaws, the worst first.
        overlaps: pairs of pictures that show the same piece, by index into `samples`.
        doubled: pairs of boxes that mark the same thing: index of the picture, of the box, of its double.
        unreadable: indices of pictures that cannot be decoded.
        proposal: a split for each picture that keeps overlapping ones together; empty where the present one does.
    """

    dataset: Dataset
    samples: list[Sample]
    splits: list[str]
    findings: list[Finding]
    overlaps: list[Overlap]
    doubled: list[tuple[int, int, int]]
    unreadable: list[int]
    proposal: list[str]

    @property
    def failed(self) -> bool:
        """Whether training or its score would suffer."""
        return any(finding.severity == "error" for finding in self.findings)

    def crossing(self) -> list[Overlap]:
        """Overlapping pairs whose pictures are in different splits: leaks."""
        return [pair for pair in self.overlaps if self.splits[pair.first] != self.splits[pair.second]]


def check_dataset(dataset: Dataset, *, imgsz: int = 640, seed: int = 0) -> Report:
    """Look for everything that makes training fail or its score lie.

    Args:
        dataset: an open dataset.
        imgsz: side in pixels at which it will be trained: decides which boxes are too small.
        seed: of the proposed split.
    """
    samples = [sample for split in dataset.splits.values() for sample in split]
    splits = [name for name, split in dataset.splits.items() for _ in split]
    squares, errors = read_squares([sample.path for sample in samples])
    overlaps = find_overlaps(squares)
    doubled = list(_doubled(samples))
    proposal = _proposal(samples, splits, overlaps, seed)
    findings = [
        *_broken(dataset, errors),
        *_leaks(samples, splits, overlaps, proposal),
        *_copies(samples, overlaps),
        *_boxes(samples, doubled, imgsz),
        *_classes(dataset),
        *_pictures(dataset, samples),
    ]
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
    return Report(dataset, samples, splits, findings, overlaps, doubled, sorted(errors), proposal)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _broken(dataset: Dataset, errors: dict[int, str]) -> Iterator[Finding]:
    if dataset.problems:
        yield Finding(
            "error",
            "broken",
            f"{len(dataset.problems)} annotations or pictures are broken and would be skipped: mend them, or use --fix",
            [str(problem) for problem in dataset.problems],
        )
    if errors:
        yield Finding(
            "error",
            "unreadable",
            f"{len(errors)} pictures cannot be decoded: replace them, or use --fix",
            [*errors.values()],
        )
    if dataset.mended:
        yield Finding(
            "warning",
            "outside",
            f"{len(dataset.mended)} boxes reach beyond their picture and are cut: were pictures cropped later?",
            [str(problem) for problem in dataset.mended],
        )
    groups: dict[str, list[str]] = {}
    for note in dataset.noted:
        groups.setdefault(f"{note.found} (expected: {note.expected})", []).append(str(note.file))
    for told, places in groups.items():
        yield Finding("note", "noted", f"{len(places)} times: {told}" if len(places) > 1 else told, places)
    if any(dataset.balance.lost):
        yield Finding("error", "lost", f"not all is accounted for, a fault of this program: {dataset.balance}")


def _leaks(
    samples: Sequence[Sample], splits: Sequence[str], overlaps: Sequence[Overlap], proposal: Sequence[str]
) -> Iterator[Finding]:
    crossing = [pair for pair in overlaps if splits[pair.first] != splits[pair.second]]
    if not crossing:
        return
    leaked = {
        split: len({i for pair in crossing for i in (pair.first, pair.second) if splits[i] == split})
        for split in dict.fromkeys(splits)
        if split != "train"
    }
    told = ", ".join(f"{count} of {splits.count(split)} in {split}" for split, count in leaked.items())
    moved = sum(old != new for old, new in zip(splits, proposal, strict=True))
    yield Finding(
        "error",
        "leak",
        f"{len(crossing)} pairs of pictures show the same piece in different splits ({told}), so scores are too good: "
        f"take the proposed grouped split (--fix; {moved} pictures move)",
        [_told(pair, samples, splits) for pair in crossing],
    )


def _copies(samples: Sequence[Sample], overlaps: Sequence[Overlap]) -> Iterator[Finding]:
    """Copies within the dataset, and copies that are annotated differently."""
    same = [pair for pair in overlaps if pair.correlation > 0.98 and pair.dx == 0 and pair.dy == 0]
    if not same:
        return
    exact = [pair for pair in same if file_digest(samples[pair.first].path) == file_digest(samples[pair.second].path)]
    yield Finding(
        "warning",
        "copies",
        f"{len(same)} pairs of pictures are the same picture ({len(exact)} to the byte): one of each is enough",
        [_told(pair, samples) for pair in same],
    )
    differ = [pair for pair in same if not same_labels(samples[pair.first], samples[pair.second])]
    if differ:
        yield Finding(
            "warning",
            "contradiction",
            f"{len(differ)} of those pairs carry different boxes: keep the better annotation",
            [_told(pair, samples) for pair in differ],
        )


def _boxes(samples: Sequence[Sample], doubled: Sequence[tuple[int, int, int]], imgsz: int) -> Iterator[Finding]:
    if doubled:
        yield Finding(
            "warning",
            "doubled",
            f"{len(doubled)} boxes mark what another box of their picture marks (overlap above {DOUBLED}): keep one",
            [f"{samples[i].path}: box {second + 1} doubles box {first + 1}" for i, first, second in doubled],
        )
    tiny = []
    for sample in samples:
        sides = (sample.boxes[:, 2:] - sample.boxes[:, :2]) * (imgsz / max(sample.width, sample.height))
        tiny += [f"{sample.path}: box {i + 1}" for i in np.flatnonzero(sides.min(1, initial=np.inf) < MIN_BOX)]
    if tiny:
        yield Finding(
            "warning",
            "tiny-boxes",
            f"{len(tiny)} boxes are thinner than {MIN_BOX} pixels at {imgsz}: train at a larger size, or with tiles",
            tiny,
        )


def _classes(dataset: Dataset) -> Iterator[Finding]:
    names = dataset.names
    boxes = {split: box_counts(samples, len(names)) for split, samples in dataset.splits.items()}
    pictures = {split: picture_counts(samples, len(names)) for split, samples in dataset.splits.items()}
    train = "train" if "train" in boxes else next(iter(boxes))
    used = np.sum(list(boxes.values()), axis=0)
    unused = [name for name, count in zip(names, used, strict=True) if count == 0]
    if unused:
        yield Finding(
            "warning", "unused-class", f"{len(unused)} classes have no box anywhere: remove or annotate them", unused
        )
    alike = [f"{name!r} and {other!r}" for place, name in enumerate(names) if (other := same(name, names[:place]))]
    if alike:
        message = (
            f"{len(alike)} pairs of classes differ only in case, spaces or hyphens: make one of each, if it is one"
        )
        yield Finding("warning", "alike-classes", message, alike)
    for split, counts in boxes.items():
        untaught = [name for name, here, taught in zip(names, counts, boxes[train], strict=True) if here and not taught]
        if untaught:
            message = f"{len(untaught)} classes have boxes in {split} but none in {train}: they cannot be learned"
            yield Finding("error", "untaught-class", message, untaught)
    few = [f"{name}: {count} pictures" for name, count in zip(names, pictures[train], strict=True) if 0 < count < FEW]
    if few:
        message = (
            f"{len(few)} classes have fewer than {FEW} pictures in {train}: scores will swing; {GOOD} are dependable"
        )
        yield Finding("warning", "few-pictures", message, few)
    counted = boxes[train][boxes[train] > 0]
    if len(counted) and counted.max() > IMBALANCE * counted.min():
        most, least = names[int(boxes[train].argmax())], names[int(np.flatnonzero(boxes[train] == counted.min())[0])]
        yield Finding(
            "warning",
            "imbalance",
            f"{most} has {counted.max()} boxes in {train} and {least} only {counted.min()}: balance the sampling",
        )


def _pictures(dataset: Dataset, samples: Sequence[Sample]) -> Iterator[Finding]:
    small = [str(sample.path) for sample in samples if min(sample.width, sample.height) < MIN_PICTURE]
    if small:
        yield Finding(
            "warning", "tiny-pictures", f"{len(small)} pictures have a side below {MIN_PICTURE} pixels", small
        )
    if "val" not in dataset.splits and "test" not in dataset.splits:
        yield Finding("warning", "one-split", "one split only: --fix writes a grouped train, val and test split")
    named = [(sample, _class_in_name(sample.path.stem, dataset.names)) for sample in samples]
    told = [(sample, kind) for sample, kind in named if kind is not None]
    if len(told) > 0.8 * len(samples):  # file names that begin with a class mean it
        other = [(sample, int((sample.classes != kind).sum())) for sample, kind in told]
        places = [f"{sample.path}: {count} boxes of another class" for sample, count in other if count]
        if places:
            count = sum(count for _, count in other)
            message = (
                f"{count} boxes in {len(places)} pictures have another class than the file name says: look at them"
            )
            yield Finding("note", "class-in-name", message, places)


def _proposal(samples: Sequence[Sample], splits: Sequence[str], overlaps: Sequence[Overlap], seed: int) -> list[str]:
    """A grouped split in the present shares; empty where the present split needs no other."""
    present = list(dict.fromkeys(splits))
    if len(present) > 1 and not any(splits[pair.first] != splits[pair.second] for pair in overlaps):
        return []
    if len(present) == 1 and len(samples) < len(SHARES):
        return []
    shares = {split: splits.count(split) / len(splits) for split in present} if len(present) > 1 else SHARES
    groups = clusters(len(samples), [(pair.first, pair.second) for pair in overlaps])
    return grouped_split(samples, groups, shares, seed=seed, current=splits if len(present) > 1 else None)


def _doubled(samples: Sequence[Sample]) -> Iterator[tuple[int, int, int]]:
    for index, sample in enumerate(samples):
        overlap = np.triu(iou(sample.boxes, sample.boxes), 1)
        yield from ((index, int(first), int(second)) for first, second in np.argwhere(overlap > DOUBLED))


def box_counts(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    """Boxes by class, (classes,)."""
    return sum((np.bincount(sample.classes, minlength=classes) for sample in samples), np.zeros(classes, np.int64))


def picture_counts(samples: Sequence[Sample], classes: int) -> NDArray[np.int64]:
    """Pictures that show each class, (classes,)."""
    counts = (np.bincount(np.unique(sample.classes), minlength=classes) for sample in samples)
    return sum(counts, np.zeros(classes, np.int64))


def same_labels(one: Sample, other: Sample) -> bool:
    """Whether two copies of a picture carry the same boxes, to a pixel."""
    if len(one.boxes) != len(other.boxes):
        return False
    mine, theirs = (
        sorted((int(kind), *box.tolist()) for kind, box in zip(sample.classes, sample.boxes, strict=True))
        for sample in (one, other)
    )
    return bool(np.allclose(mine, theirs, atol=1)) if mine else True


def _class_in_name(stem: str, names: Sequence[str]) -> int | None:
    """The class that a file's name begins with; the longest where several fit."""
    # As a word: `pitted_3` does not begin with the class `pit`.
    fitting = [name for name in names if re.match(rf"{re.escape(name)}(?![^\W\d_])", stem, re.IGNORECASE)]
    return names.index(max(fitting, key=len)) if fitting else None


def _told(pair: Overlap, samples: Sequence[Sample], splits: Sequence[str] | None = None) -> str:
    one, other = (f"{samples[i].path}" + (f" ({splits[i]})" if splits else "") for i in (pair.first, pair.second))
    return f"{one} and {other}: correlation {pair.correlation:.2f}, shifted by {pair.dx:+.1%}, {pair.dy:+.1%}"
