"""Batches of pictures: in memory, on a device, at another size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

ROOM = 8  # boxes of a picture, at least, that `Batch.with_room` makes room for


@dataclass
class Batch:
    """Pictures of one size with their boxes.

    Args:
        images: (B, 3, S, S) uint8 RGB, channels last in memory.
        targets: one row a box: index in the batch, class, x1, y1, x2, y2 in pixels of the square, (M, 6) float32; or
            the same room for each picture, see `with_room`.
        scales: new pixels per old pixel, (B,) float32.
        pads: padding left and above in pixels, (B, 2) float32.
        indices: position in the list of samples, (B,) int64; -1 for a picture that does not count, see `_Draws`.
    """

    images: Tensor
    targets: Tensor
    scales: Tensor
    pads: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors()))

    def resized(self, side: int) -> Batch:
        """The batch at another side, pixels; boxes, scales and pads follow."""
        if side == self.images.shape[-1]:
            return self
        ratio = side / self.images.shape[-1]
        images = F.interpolate(self.images.float(), (side, side), mode="bilinear", antialias=True).round().byte()
        targets = torch.cat((self.targets[..., :-4], self.targets[..., -4:] * ratio), -1)
        return Batch(images, targets, self.scales * ratio, self.pads * ratio, self.indices)

    def with_room(self) -> Batch:
        """The batch with the same room for the boxes of each picture: targets (B, N, 5), zeros where there is no box.

        N is `ROOM` times a power of two, so that few different shapes occur.

        Examples:
            >>> one = torch.zeros(2)
            >>> batch = Batch(torch.zeros(2, 3, 8, 8), torch.tensor([[1.0, 3, 0, 0, 9, 9]]), one, one, one)
            >>> batch.with_room().targets[:, :2, 0].tolist()
            [[0.0, 0.0], [3.0, 0.0]]
        """
        counts = torch.bincount(self.targets[:, 0].long(), minlength=len(self))
        room = ROOM
        while room < counts.max():
            room *= 2
        rows = self.targets[torch.argsort(self.targets[:, 0], stable=True)]
        index = rows[:, 0].long()
        boxes = self.targets.new_zeros(len(self), room, 5)
        boxes[index, torch.arange(len(rows)) - (counts.cumsum(0) - counts)[index]] = rows[:, 1:]
        return Batch(self.images, boxes, self.scales, self.pads, self.indices)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; torch's DataLoader calls this by its name."""
        return Batch(*(tensor.pin_memory() for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """All that it holds."""
        return self.images, self.targets, self.scales, self.pads, self.indices


def ahead(batches: Iterable[Batch], device: torch.device, *, room: bool = False) -> Iterator[Batch]:
    """The batches on a device, but for `indices`, which the host alone asks for, without having to wait for them.

    On a GPU each is copied while the one before is computed with.

    Args:
        batches: on the CPU, for a GPU in page-locked memory.
        device: where they are needed.
        room: `Batch.with_room` them.
    """
    shaped = (batch.with_room() if room else batch for batch in batches)
    if device.type != "cuda":
        yield from (batch.to(device) for batch in shaped)
        return
    stream = torch.cuda.Stream(device)
    waiting: Batch | None = None
    for batch in shaped:
        with torch.cuda.stream(stream):
            coming = replace(batch.to(device, non_blocking=True), indices=batch.indices)
        if waiting is not None:
            yield waiting
        torch.cuda.current_stream(device).wait_stream(stream)
        for tensor in coming.tensors()[:-1]:
            tensor.record_stream(torch.cuda.current_stream(device))  # its memory is not given away before that
        waiting = coming
    if waiting is not None:
        yield waiting
