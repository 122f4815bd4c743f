"""A sheet that shows what an augmentation recipe does to a dataset's own pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.batches.augment import Recipe
from vision_lora.datasets.batches.batch import Batch
from vision_lora.datasets.batches.loader import Loading, eval_loader, train_loader
from vision_lora.datasets.checking.report import draw_boxes
from vision_lora.datasets.sample import Sample
from vision_lora.errors import OutputError
from vision_lora.pictures.images import write_picture

_ROWS, _COLUMNS = 5, 7


def preview_sheet(samples: Sequence[Sample], recipe: Recipe, *, imgsz: int, seed: int = 0) -> NDArray[np.uint8]:
    """Five pictures, each first as it is, then six times as training will see it, with boxes.

    Args:
        samples: the training split; five with boxes are chosen, as far as there are.
        recipe: from `load_recipe`.
        imgsz: side of the training pictures in pixels.
        seed: of the choice and the augmentation.

    Returns:
        The sheet, (5 * imgsz, 7 * imgsz, 3) uint8 RGB; fewer rows where there are fewer pictures.

    Raises:
        DataError: no picture, or none that can be decoded.
    """
    pool = [sample for sample in samples if len(sample.boxes)] or list(samples)
    order = np.random.default_rng(seed).permutation(len(pool))[:_ROWS]
    chosen = [pool[index] for index in order]
    columns = [_column(next(iter(eval_loader(chosen, imgsz, len(chosen)))))]
    loader = train_loader(chosen, imgsz, len(chosen), recipe=recipe, seed=seed, loading=Loading(workers=0))
    for epoch in range(_COLUMNS - 1):
        loader.set_epoch(epoch)
        columns.append(_column(next(iter(loader))))
    return np.concatenate(columns, 1)


def write_preview(sheet: NDArray[np.uint8], path: Path) -> None:
    """Write a sheet as PNG or JPEG.

    Raises:
        FormatError: the name has no such ending, or a JPEG cannot be that large.
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    write_picture(path, sheet)


def _column(batch: Batch) -> NDArray[np.uint8]:
    """Pictures of a batch with their boxes, in the order of their samples, one below the other."""
    images = np.ascontiguousarray(batch.images.permute(0, 2, 3, 1).numpy())  # (B, S, S, 3)
    for place, image in enumerate(images):
        draw_boxes(image, batch.targets[batch.targets[:, 0] == place, 2:].numpy())
    return np.concatenate(images[np.argsort(batch.indices.numpy())])
