"""What a run leaves to look at: curves of its epochs, and predictions beside ground truth."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vision_lora.datasets.sample import Sample
from vision_lora.evaluation.matching import objects_found
from vision_lora.pictures.detections import CONFIDENCE, Detections
from vision_lora.pictures.drawing import Picture, draw_detections, draw_truth, grid, text_width, write
from vision_lora.pictures.images import read_image, write_picture
from vision_lora.system.outputs import write_whole
from vision_lora.training.loop.listener import losses_of

_CELL = 420  # pixels of a picture's longer side in the grid: boxes in 200 px pictures stay legible
_STRIP = 30  # pixels of the caption above it
_NARROW = 160  # pixels that a caption needs at least
_INK = (33, 37, 41)
_FAINT = (120, 126, 132)


def save_curves(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Draw losses and validation mAP over the epochs.

    Args:
        path: PNG to write.
        rows: one an epoch: `epoch` from 1, `map50_95`, `map50`, 0 to 1; the losses among the others are
            drawn, see `losses_of`.

    Raises:
        ValueError: there is no epoch yet.
    """
    if not rows:
        raise ValueError("no epoch to draw")
    # A figure of its own: pyplot would keep it for ever and ask for a window system.
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for name in losses_of(rows[0]):
        _curve(left, epochs, [row[name] for row in rows], name)
    left.set_title("training loss", loc="left")
    left.set_ylim(bottom=0)
    for name, label in (("map50", "mAP50"), ("map50_95", "mAP50-95")):
        _curve(right, epochs, [row[name] for row in rows], label)
    best = max(rows, key=lambda row: row["map50_95"])
    right.plot(best["epoch"], best["map50_95"], "o", color="#212529", markersize=6, zorder=3)
    right.set_title(
        f"validation, best epoch {best['epoch']:.0f}: mAP50-95 {best['map50_95']:.3f}, mAP50 {best['map50']:.3f}",
        loc="left",
    )
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    write_whole(path, buffer.getvalue())


def save_prediction_grid(
    path: Path,
    samples: Sequence[Sample],
    found: Sequence[Detections],
    names: Sequence[str],
    thresholds: Mapping[str, float],
    *,
    pictures: int = 12,
) -> None:
    """Draw ground truth beside prediction for some pictures, see `choose`.

    Args:
        path: PNG to write.
        samples: pictures with their ground truth.
        found: `found[i]` are the detections in `samples[i]`.
        names: the dataset's class names.
        thresholds: lowest score that is drawn, by class of the adapter, as `predict` takes them from its card.
        pictures: how many, at most.

    Raises:
        ValueError: there is no picture to draw.
        DataError: a picture cannot be read.
    """
    confident = [_in_use(detections, thresholds) for detections in found]
    pairs = [_pair(samples[i], confident[i], names) for i in choose(samples, confident, names, pictures)]
    write_picture(path, grid(pairs, columns=2 if len(pairs) > 1 else 1, gap=18))


def choose(samples: Sequence[Sample], found: Sequence[Detections], names: Sequence[str], pictures: int) -> list[int]:
    """Positions of pictures that show a detector as it is: every class, from well to badly detected ones.

    Each class, and the pictures without any box as one more, gets an equal share. Within its pictures, sorted by how
    well prediction and truth agree, the choice is spread evenly: neither the best nor the worst are picked out.

    Args:
        samples: pictures with their ground truth.
        found: detections that would be drawn, of each picture.
        names: the dataset's class names.
        pictures: how many to choose, at most.

    Returns:
        Positions in `samples`, grouped by class; the same for the same input.
    """
    scores = [agreement(sample, detections, names) for sample, detections in zip(samples, found, strict=True)]
    groups = {c: [i for i, sample in enumerate(samples) if c in sample.classes] for c in range(len(names))}
    groups[len(names)] = [i for i, sample in enumerate(samples) if not len(sample.classes)]
    largest = sorted((c for c in groups if groups[c]), key=lambda c: -len(groups[c]))[:pictures]
    chosen: dict[int, list[int]] = {}
    taken: set[int] = set()
    # Rare classes choose first, so that common ones cannot take the pictures that both are in.
    for left, c in zip(range(len(largest), 0, -1), reversed(largest), strict=True):
        free = sorted(set(groups[c]) - taken, key=lambda i: (-scores[i], i))
        share = min(math.ceil((pictures - len(taken)) / left), len(free))
        chosen[c] = [free[int((j + 0.5) * len(free) / share)] for j in range(share)]
        taken.update(chosen[c])
    return [i for c in sorted(chosen) for i in chosen[c]]


def agreement(sample: Sample, found: Detections, names: Sequence[str]) -> float:
    """F1 of the detections: 1 when every box is found and nothing else.

    Args:
        sample: ground truth.
        found: detections, best score first, all of them counted.
        names: the dataset's class names.
    """
    total = len(sample.boxes) + len(found)
    return 2 * int((objects_found(sample, found, names) >= 0).sum()) / total if total else 1.0


def _pair(sample: Sample, found: Detections, names: Sequence[str]) -> Picture:
    """Ground truth and prediction of one picture, side by side under their captions."""
    image, scale = _resized(read_image(sample.path), _CELL)
    truth = draw_truth(image, sample.boxes * np.float32(scale), sample.classes, names)
    guess = draw_detections(image, replace(found, boxes=found.boxes * np.float32(scale)))
    panels = [
        _captioned(truth, f"truth: {len(sample.boxes)}", sample.path.name),
        _captioned(guess, f"prediction: {len(found)}", ""),
    ]
    return grid(panels, columns=2, gap=2)


def _captioned(image: Picture, title: str, note: str) -> Picture:
    """The picture under a strip with a title and a note, which end where it ends."""
    height, width = image.shape[:2]
    canvas = np.full((height + _STRIP, max(width, _NARROW), 3), 255, np.uint8)
    canvas[_STRIP:, :width] = image
    write(canvas, title, 2, _STRIP - 9, 17, _INK, weight=600)
    write(canvas, note, 14 + text_width(title, 17, weight=600), _STRIP - 9, 15, _FAINT, weight=400)
    return canvas


def _curve(axes: Axes, epochs: Sequence[float], values: Sequence[float], label: str) -> None:
    """One line; dots as well where there are few epochs, and one alone would be invisible."""
    axes.plot(epochs, values, linewidth=1.8, marker="." if len(epochs) < 25 else None, label=label)


def _resized(image: Picture, side: int) -> tuple[Picture, float]:
    """The picture with its longer side so long, and the scale, new pixels per old pixel."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8), scale


def _in_use(found: Detections, thresholds: Mapping[str, float]) -> Detections:
    """What `predict` would draw: of the classes that were read from one box the best, where it counts."""
    _, best = np.unique(found.boxes, axis=0, return_index=True)  # the first of equal boxes
    best.sort()
    once = replace(found, boxes=found.boxes[best], scores=found.scores[best], classes=found.classes[best])
    return once.above(CONFIDENCE, thresholds)
