"""How well wrong labels are found: some are spoiled on purpose, and it is counted where they stand in the ranking.

    python -m vision_lora.benchmarks.spoiled --data data_grouped.yaml --model yolo11n.pt

Of a split's labels a share is dropped, moved, or given another class, a third each. The pictures are dealt into folds;
an adapter that learned from the others, spoiled as they are, doubts the labels of each fold. Of all doubts together
the first tenth is looked at. With `--adapter` one that was trained on other pictures doubts all of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.datasets.write import yolo_labels, yolo_yaml
from vision_lora.detectors.load import load_detector
from vision_lora.errors import DataError, VisionLoraError
from vision_lora.evaluation.labels import doubted_labels
from vision_lora.evaluation.matching import OVERLAP
from vision_lora.evaluation.measure import demand_known, known_classes
from vision_lora.evaluation.scoring.outcomes import overlaps
from vision_lora.options import common
from vision_lora.options.command_line import run_verb
from vision_lora.options.common import Split
from vision_lora.options.option import Options, option
from vision_lora.system.outputs import check_file, write_json, write_text


@dataclass(frozen=True)
class SpoiledConfig(Options):
    """Spoil labels and count how many of the first tenth of the ranking are spoiled ones."""

    data: str = option("", common.DATA, required=common.A_DATASET)
    split: Split = option("train", "split whose labels are spoiled")
    model: str = option("starter", common.BASE)
    adapter: str | None = option(None, "adapter that was trained on other pictures; default: cross-validation")
    share: float = option(0.05, "share of the labels that is spoiled", more_than=0, less_than=1)
    folds: int = option(2, "parts of the cross-validation", at_least=2)
    epochs: int = option(5, "epochs of each training", at_least=1)
    seed: int = common.seed("seed of what is spoiled, and of the trainings")
    threads: int = common.threads("CPU threads that compute")
    device: str = option("auto", common.DEVICE, "speed")
    json: str | None = option(None, "file for the counts as JSON", "output")


class Spoiled(NamedTuple):
    """One label that was spoiled.

    Attributes:
        picture: place among the samples.
        how: `dropped`, `moved` or `wrong class`.
        places: where it was, and where it is now, corners in pixels, (1 or 2, 4).
    """

    picture: int
    how: str
    places: NDArray[np.float64]


def spoil(samples: Sequence[Sample], classes: int, share: float, seed: int) -> tuple[list[Sample], list[Spoiled]]:
    """Samples of which a share of the labels is wrong, and which these are.

    A moved box keeps its size, and overlaps its old place by an IoU below 0.5.

    Args:
        samples: with sound labels.
        classes: how many there are.
        share: of the labels, 0 to 1.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(samples)), [len(sample.boxes) for sample in samples])
    places = np.concatenate([np.arange(len(sample.boxes)) for sample in samples])
    chosen = random.permutation(len(owners))[: round(share * len(owners))]
    result, told = list(samples), []
    dropped: dict[int, list[int]] = {}
    for turn, label in enumerate(chosen.tolist()):
        picture, place = int(owners[label]), int(places[label])
        sample = result[picture]
        box, how = sample.boxes[place].astype(np.float64), ("dropped", "moved", "wrong class")[turn % 3]
        at = box[None]
        if how == "dropped":
            dropped.setdefault(picture, []).append(place)
        elif how == "moved":
            boxes = sample.boxes.copy()
            boxes[place] = _elsewhere(box, sample, random)
            at = np.stack([box, boxes[place].astype(np.float64)])
            result[picture] = replace(sample, boxes=boxes)
        else:
            kinds = sample.classes.copy()
            kinds[place] = (kinds[place] + random.integers(1, classes)) % classes
            result[picture] = replace(sample, classes=kinds)
        told.append(Spoiled(picture, how, at))
    for picture, gone in dropped.items():  # last: places count in whole lists until here
        sample, kept = result[picture], np.setdiff1d(np.arange(len(result[picture].boxes)), gone)
        result[picture] = replace(sample, boxes=sample.boxes[kept], classes=sample.classes[kept], areas=None)
    return result, told


def _elsewhere(box: NDArray[np.float64], sample: Sample, random: np.random.Generator) -> NDArray[np.float64]:
    """A box of the same size at another place in the picture."""
    size = box[2:] - box[:2]
    room = np.array([sample.width, sample.height]) - size
    for _ in range(100):
        corner = random.uniform(0, 1, 2) * room
        moved = np.concatenate([corner, corner + size])
        if overlaps(moved[None], box[None])[0] < OVERLAP:
            return moved
    centre = (box[:2] + box[2:]) / 2  # it fills its picture: a quarter of it is elsewhere enough
    return np.concatenate([box[:2], centre])


def rank(
    config: SpoiledConfig, samples: Sequence[Sample], names: Sequence[str]
) -> list[tuple[float, int, list[float]]]:
    """All doubts, the strongest first: how strong, of which picture, and where (label, else detection)."""
    doubts = []
    for adapter, pictures in _judges(config, samples, names):
        detector = load_detector(config.model, adapter, config.device)
        part = [samples[picture] for picture in pictures]
        demand_known(known_classes(detector, "defects"), names, part)
        outcomes, _, mistakes = doubted_labels(detector, part, names, imgsz=detector.imgsz)
        for one in mistakes:
            box = outcomes.boxes[one.detection] if one.detection is not None else outcomes.true_boxes[one.box]
            label = box if one.box is None else outcomes.true_boxes[one.box]
            doubts.append(
                (one.suspicion, pictures[one.picture], [*box.reshape(-1).tolist(), *label.reshape(-1).tolist()])
            )
    return sorted(doubts, key=lambda doubt: -doubt[0])


def _judges(config: SpoiledConfig, samples: Sequence[Sample], names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Adapters, and the pictures that each is to doubt: none that it has learned from."""
    if config.adapter is not None:
        return [(config.adapter, list(range(len(samples))))]
    order = np.random.default_rng(config.seed).permutation(len(samples))
    judges = []
    for fold in range(config.folds):
        mine = sorted(order[fold :: config.folds].tolist())
        others = [samples[picture] for picture in sorted(set(range(len(samples))) - set(mine))]
        judges.append((_train(config, others, names, fold), mine))
    return judges


def _train(config: SpoiledConfig, samples: Sequence[Sample], names: Sequence[str], fold: int) -> str:
    """Train an adapter in a process of its own; gives its file."""
    folder = Path(tempfile.mkdtemp(prefix=f"spoiled-{fold}-"))
    for number, sample in enumerate(samples):
        image = folder / "images" / "train" / f"{number}{sample.path.suffix}"
        label = folder / "labels" / "train" / f"{number}.txt"
        for file in (image, label):
            file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample.path, image)
        write_text(label, yolo_labels(sample.boxes, sample.classes, sample.width, sample.height))
    # Which epoch is best is of no interest here: some of its own pictures stand in for a val split.
    few = range(0, len(samples), max(1, len(samples) // 30))
    listed = "".join(f"./images/train/{number}{samples[number].path.suffix}\n" for number in few)
    write_text(folder / "val.txt", listed)
    write_text(folder / "data.yaml", yolo_yaml({"train": "images/train", "val": "val.txt"}, names))
    given = {"data": folder / "data.yaml", "model": config.model, "epochs": config.epochs, "seed": config.seed}
    given |= {"threads": config.threads, "device": config.device, "draws": 0, "out": folder / "run"}
    words = [f"--{name}={value}" for name, value in given.items()]
    ended = subprocess.run([sys.executable, "-m", "vision_lora.train", *words], check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module
    if ended.returncode:
        raise VisionLoraError(f"{folder}: training ended with {ended.returncode}")
    return str(folder / "run" / "adapter.safetensors")


def run(config: SpoiledConfig, console: Console) -> None:
    """Measure and print."""
    target = check_file("json", config.json)
    dataset = open_dataset(config.data).sure()
    if not (sound := dataset.splits.get(config.split)):
        raise DataError(f"{config.data}: no {config.split} split; there: {', '.join(dataset.splits)}")
    samples, told = spoil(sound, len(dataset.names), config.share, config.seed)
    doubts = rank(config, samples, dataset.names)
    hits = [_spoiled_at(picture, np.array(places).reshape(-1, 4), told) for _, picture, places in doubts]
    first = hits[: max(1, len(hits) // 10)]
    right = sum(hit is not None for hit in first)
    console.print(f"{len(told)} of {sum(len(sample.boxes) for sample in sound)} labels spoiled; {len(doubts)} doubts")
    console.print(
        f"of the first {len(first)} doubts, a tenth, {right} are at a spoiled label: {right / len(first):.1%}"
    )
    found = {hit for hit in hits[: len(told)] if hit is not None}
    console.print(
        f"as many doubts as labels are spoiled, {len(told)}, find {len(found)} of them: {len(found) / len(told):.1%}"
    )
    by_kind = {
        how: [sum(told[hit].how == how for hit in found), sum(one.how == how for one in told)]
        for how in ("dropped", "moved", "wrong class")
    }
    for how, (some, all_of_them) in by_kind.items():
        console.print(f"  {how}: {some} of {all_of_them}")
    if target is not None:
        counts = {"spoiled": len(told), "doubts": len(doubts), "first": len(first), "right": right, "found": by_kind}
        write_json(target, counts)


def _spoiled_at(picture: int, places: NDArray[np.float64], told: Sequence[Spoiled]) -> int | None:
    """The spoiled label that a doubt is about: one of its boxes is where that was, or where it is now."""
    for index, one in enumerate(told):
        if one.picture == picture and overlaps(places, one.places)[0].max() >= OVERLAP:
            return index
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(SpoiledConfig, "benchmarks.spoiled", run, argv)


if __name__ == "__main__":
    sys.exit(main())
