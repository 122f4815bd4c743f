"""Where an adapter's training starts: factor A looks at what sets the new pictures apart from everyday ones."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.quiet import quiet_start
from vision_lora.datasets.batches.batch import Batch
from vision_lora.detectors.base import Detector

PICTURES = 48  # of either kind that are looked at, at least; or all there are


def start_quietly(detector: Detector, adapter: Adapter, everyday: Iterable[Batch], new: Iterable[Batch]) -> None:
    """Set the adapter's A, see `quiet_start`; the first pictures of either kind are looked at.

    Args:
        detector: with the adapter attached.
        adapter: untrained.
        everyday: pictures of anything but the new classes.
        new: pictures to learn from.
    """

    def pictures(source: Iterable[Batch]) -> list[Tensor]:
        taken: list[Tensor] = []
        for batch in source:
            taken.append(batch.images.to(detector.device))
            if sum(map(len, taken)) >= PICTURES:
                break
        return taken

    quiet_start(
        detector.network,
        adapter,
        pictures(everyday),
        pictures(new),
        lambda images: detector.detect(images, mode="general"),
    )
