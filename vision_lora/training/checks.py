"""What can be known before the first step is looked at before it: nobody waits an epoch to be told."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from vision_lora.datasets.sample import Sample
from vision_lora.errors import ConfigError, DataError

log = logging.getLogger(__name__)

COPIES = 8  # of what trains: two states with both of AdamW's moments and the average, the best and the last weights


def check_boxes(source: Path, train: Iterable[Sample], val: Iterable[Sample], names: Sequence[str]) -> None:
    """See that there is something to learn from, and something to be measured on; warn of classes without either.

    Raises:
        DataError: no train or no val picture has a box.
    """
    for split, samples in (("train", train), ("val", val)):
        boxes = sum(
            (np.bincount(sample.classes, minlength=len(names)) for sample in samples), np.zeros(len(names), int)
        )
        if not boxes.any():
            need = "nothing can be learned" if split == "train" else "no mAP can be measured"
            raise DataError(
                f"{source}: no {split} picture has a box of {', '.join(names)}, so {need}; expected labelled pictures "
                f"in {split}: check where its label files lie"
            )
        if missing := [name for name, count in zip(names, boxes, strict=True) if not count]:
            then = "cannot be learned" if split == "train" else "are not measured"
            log.warning("%s: %s has no box of %s, which %s", source, split, ", ".join(missing), then)


def check_room(folder: Path, learned: nn.Module, trained: int) -> None:
    """See that the disk has room for the states and the weights that a run writes.

    Args:
        folder: where they are written; it need not exist yet.
        learned: the module that trains.
        trained: its numbers that change.

    Raises:
        ConfigError: it has not.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    whole = sum(tensor.numel() * tensor.element_size() for tensor in learned.state_dict().values())
    needed = COPIES * max(whole, 4 * trained)
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ConfigError(
            f"--out {folder}: {free / 2**20:.0f} MiB free there; the weights and the state of the run need about "
            f"{needed / 2**20:.0f} MiB: make room, or give another folder"
        )
