"""How fast an epoch goes, and what its losses are, without making the device wait for the question."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, cast

from lightning_fabric import Fabric
from torch import Tensor

Item = TypeVar("Item")

EVERY = 10  # steps after which a GPU's losses are read: the host waits there until it has caught up


class Pace:
    """Means of an epoch's losses, its rate, and the share of time that it waits for pictures.

    Args:
        fabric: the device, whose losses are read only now and then where it is a GPU, and the processes, each of which
            has its part of them.

    Attributes:
        seconds: of each step so far, waiting for pictures not counted; where several are read at once, their mean.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._every = 1 if fabric.device.type == "cpu" else EVERY
        self._sums: Tensor | None = None
        self._steps, self._pictures = 0, 0
        self._began = self._read = time.perf_counter()
        self._waited = self._waited_since = 0.0
        self.seconds: list[float] = []

    def waiting_for(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches; the time that each takes to come counts as waiting."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited_since += time.perf_counter() - asked
            yield batch

    def stepped(self, names: Sequence[str], losses: Tensor, pictures: int, *, last: bool) -> dict[str, float] | None:
        """Take in a step; gives the means so far where it is time to read them, and after the last step.

        Args:
            names: of the losses.
            losses: (n,), on the device; may be overwritten afterwards.
            pictures: in the batch, over all processes.
            last: whether it is the epoch's last step.
        """
        self._sums = losses.clone() if self._sums is None else self._sums.add_(losses)
        self._steps += 1
        self._pictures += pictures
        if self._steps % self._every and not last:
            return None
        means = cast(Tensor, self._fabric.all_reduce(self._sums / self._steps)).tolist()  # the device's one wait
        now = time.perf_counter()
        steps = self._steps - len(self.seconds)
        self.seconds += [(now - self._read - self._waited_since) / steps] * steps
        self._waited += self._waited_since
        self._read, self._waited_since = now, 0.0
        return dict(zip(names, means, strict=True))

    @property
    def speed(self) -> dict[str, float]:
        """`images_per_second`, and `loading`, the share of time spent waiting for pictures, at the last reading."""
        passed = max(self._read - self._began, 1e-9)
        return {"images_per_second": self._pictures / passed, "loading": self._waited / passed}
