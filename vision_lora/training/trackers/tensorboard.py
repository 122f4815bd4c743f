"""TensorBoard: event files in the run's folder, `tensorboard --logdir runs` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from vision_lora.pictures.images import read_image
from vision_lora.training.loop.listener import Brief, Listener
from vision_lora.training.runs.summary import Summary
from vision_lora.training.trackers.epochs import PICTURES, scalars

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Tracker(Listener):
    """Writes into `tensorboard/` of the run's folder; a resumed run adds a file there."""

    def __init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make = SummaryWriter
        self._writer: SummaryWriter | None = None

    def started(self, brief: Brief) -> None:
        self._writer = self._make(str(brief.folder / "tensorboard"))
        if not brief.resumed:
            options = "\n".join(f"| {name} | `{value}` |" for name, value in asdict(brief.config).items())
            self._writer.add_text("options", f"| option | value |\n|---|---|\n{options}")
        self._writer.flush()

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:  # noqa: ARG002 - its curve shows it
        assert self._writer is not None
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def ended(self, summary: Summary) -> None:
        assert self._writer is not None
        for name in PICTURES:
            picture = np.ascontiguousarray(read_image(summary.out / name))
            self._writer.add_image(name, picture, summary.values["epochs"], dataformats="HWC")
        self._writer.add_text("result", f"`{summary.result}`", summary.values["epochs"])

    def closed(self) -> None:
        if self._writer is not None:
            self._writer.close()
