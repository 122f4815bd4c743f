"""One cell in a process of its own: `python -m vision_lora.comparison.cells.process FOLDER [--score]`.

A process a cell gives honest memory peaks, lets cells run side by side, and loses nothing but its own last epoch when
it is killed.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vision_lora.comparison.cells.cell import Order, Scored, Trained, read_json
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.detectors.base import Detector
from vision_lora.detectors.load import load_detector
from vision_lora.evaluation.measure import measure
from vision_lora.evaluation.retention import compare, general_detections
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.options.train import TrainConfig
from vision_lora.pictures.detections import Detections, Mode
from vision_lora.system import parent
from vision_lora.system.outputs import write_json, write_whole


@dataclass(frozen=True)
class CellConfig(Options):
    """Train one cell of a comparison, and score it."""

    folder: str = option(
        "", "folder with the cell's order.json", required="a folder with an order.json", positional=True
    )
    score: bool = option(False, "measure on the split that decides as well")
    with_parent: bool = option(False, "end when standard input is closed: when the grid that started it is gone")


def run(config: CellConfig, _: Console) -> None:
    """Do what is not done yet."""
    if config.with_parent:
        parent.end_with_parent()
    folder = Path(config.folder)
    order = Order.read(folder)
    values = read_json(folder / "trained.json")
    if values is None:
        trained = _trainer(order)(order, folder)
        write_json(folder / "trained.json", asdict(trained))
    else:
        trained = Trained(**values)
    if config.score and not (folder / "scored.json").exists():
        write_json(folder / "scored.json", asdict(_score(order, trained, folder)))


def _trainer(order: Order) -> Callable[[Order, Path], Trained]:
    """What trains the method; imported only where it is needed."""
    if order.method == "ultralytics":
        from vision_lora.comparison.trainers.ultralytics import train_ultralytics

        return train_ultralytics
    if order.method == "peft":
        from vision_lora.comparison.trainers.peft import train_peft

        return train_peft
    from vision_lora.comparison.trainers.ours import train_loop

    return train_loop


def _score(order: Order, trained: Trained, folder: Path) -> Scored:
    """Measure the weights on the split that decides, and keep the detections."""
    config = TrainConfig(**order.options)
    weights = str(folder / trained.weights)
    dataset = open_dataset(config.data).sure()
    samples = dataset.splits[order.scored]
    model, adapter = (config.model, weights) if trained.adapter else (weights, None)
    detector = load_detector(model, adapter, config.device)
    mode: Mode = "defects" if trained.adapter else "general"
    result, found = measure(
        detector, eval_loader(samples, config.imgsz, config.batch_size), samples, dataset.names, mode=mode
    )
    save_detections(folder / "detections.npz", found, dataset.names)
    return Scored(result.to_json(), None if order.retention is None else _retention(detector, order.retention, config))


def _retention(detector: Detector, data: str, config: TrainConfig) -> dict[str, Any]:
    """What is left of the base's own classes: mAP on the val split of other pictures.

    This is the one place that decides what is measured of a trained detector: the base pass of exact mode, which must
    be the base to the bit; the only pass of a joint adapter; the joint head of a fine-tuned network.
    """
    dataset = open_dataset(data).sure()
    samples = dataset.splits["val"]
    base = load_detector(config.model, None, config.device)
    batches = eval_loader(samples, base.side, config.batch_size)
    joint = detector.adapter is not None and detector.adapter.joint
    before = general_detections(base, batches, samples, joint=False)
    kept = compare(before, general_detections(detector, batches, samples, joint=joint), samples, dataset.names)
    return {
        "images": len(samples),
        "imgsz": base.side,
        "base": kept.result.map50_95 - kept.change,
        "kept": kept.result.map50_95,
        "identical": kept.identical,
    }


def save_detections(path: Path, found: Sequence[Detections], names: Sequence[str]) -> None:
    """Keep detections of the classes in `names`, their numbers there, in one compressed file."""
    place = {name: index for index, name in enumerate(names)}
    counts, boxes, scores, classes = [], [], [], []
    for detections in found:
        numbers = np.array([place.get(name, -1) for name in detections.names], np.int16)[detections.classes]
        counts.append(int((numbers >= 0).sum()))
        boxes.append(detections.boxes[numbers >= 0])
        scores.append(detections.scores[numbers >= 0])
        classes.append(numbers[numbers >= 0])
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        counts=np.array(counts, np.int32),
        boxes=np.concatenate(boxes),
        scores=np.concatenate(scores),
        classes=np.concatenate(classes),
    )
    write_whole(path, packed.getbuffer())


def load_detections(path: Path, names: Sequence[str]) -> list[Detections]:
    """What `save_detections` kept, by picture."""
    with np.load(path) as kept:
        arrays = {name: kept[name] for name in ("counts", "boxes", "scores", "classes")}
    bounds = np.cumsum(arrays["counts"])[:-1]
    parts = (np.split(arrays[name], bounds) for name in ("boxes", "scores", "classes"))
    return [
        Detections(boxes, scores, classes.astype(np.int64), tuple(names), 0)
        for boxes, scores, classes in zip(*parts, strict=True)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(CellConfig, "comparison.cells.process", run, argv)


if __name__ == "__main__":
    sys.exit(main())
