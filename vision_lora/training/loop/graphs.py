"""One training step as one CUDA graph: the host hands over a batch and starts it, instead of some 3,000 kernels.

A small detector's kernels are shorter than the host takes to launch them, so an H100 waits two thirds of a step for it.
Forward, losses and backward of a batch are captured once a shape and replayed; clipping, AdamW and averaging follow as
a few operations on long tensors (`vision_lora.training.loop.flat`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn

from vision_lora.adapters.layers import Adapted
from vision_lora.detectors.base import Detector
from vision_lora.training.loop.flat import Flat

log = logging.getLogger(__name__)

WARM_UPS = 3  # passes before a capture: cuDNN chooses its algorithms, and what is kept for later passes is made

Losses = Callable[..., dict[str, Tensor]]


class Backward(Protocol):
    """Losses of a batch, whose gradients are then in place."""

    def __call__(self, *inputs: Tensor, present: bool = True) -> tuple[tuple[str, ...], Tensor]:
        """Names of the losses, and the losses, (n,), to be read before the next call.

        Args:
            inputs: the batch.
            present: whether its pictures count, or only keep several processes in step.
        """


class Eager:
    """Operation by operation.

    Args:
        losses: of a batch by name; on several devices Fabric's wrapper.
        fabric: precision, and the exchange of gradients.
    """

    def __init__(self, losses: Losses, fabric: Fabric) -> None:
        self._losses, self._fabric = losses, fabric

    def __call__(self, *inputs: Tensor, present: bool = True) -> tuple[tuple[str, ...], Tensor]:
        """See `Backward`."""
        losses = self._losses(*inputs, present=present)
        stacked = torch.stack(list(losses.values()))
        self._fabric.backward(stacked.sum())
        return tuple(losses), stacked.detach()


@dataclass(frozen=True)
class _Captured:
    """A graph, and every tensor that it reads or writes and that nobody else holds."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    names: tuple[str, ...]
    losses: Tensor
    held: list[object]


class Graphed:
    """Captures what `losses` does with batches of each shape, and replays it.

    Args:
        losses: of a batch by name. What they read beside the batch has to stay where it is, and nothing in them may
            wait for the device (`Detector.uncapturable`).
        flat: the parameters, whose gradients the graphs write.
        network: whose buffers the passes before a capture must not leave changed.
        fabric: precision.
        eager: takes over for good where a capture fails, which is told.
    """

    def __init__(self, losses: Losses, flat: Flat, network: nn.Module, fabric: Fabric, eager: Eager) -> None:
        self._losses, self._flat, self._network, self._fabric = losses, flat, network, fabric
        self._eager: Eager = eager
        self._captured: dict[tuple[torch.Size, ...], _Captured] = {}
        self._pool: Any = None
        self.failed = False

    def __call__(self, *inputs: Tensor, present: bool = True) -> tuple[tuple[str, ...], Tensor]:
        """See `Backward`; there is one process, so its pictures count."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._captured and not self.failed:
            try:
                self._captured[shapes] = self._capture(inputs)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.failed = True
                log.warning("no CUDA graph of a step (%s); training goes on without, more slowly", _first_line(error))
        if self.failed:
            return self._eager(*inputs, present=present)
        captured = self._captured[shapes]
        for place, tensor in zip(captured.inputs, inputs, strict=True):
            place.copy_(tensor, non_blocking=True)
        captured.graph.replay()
        return captured.names, captured.losses

    def _capture(self, inputs: tuple[Tensor, ...]) -> _Captured:
        places = tuple(tensor.clone() for tensor in inputs)
        buffers = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._step(places)
            for buffer, before in buffers:
                buffer.copy_(before)
        torch.cuda.current_stream().wait_stream(stream)
        # A pass without gradients keeps its weights on the layers until another adapter's take their place.
        held: list[object] = [
            layer.__dict__["_kept"] for layer in self._network.modules() if isinstance(layer, Adapted)
        ]
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()  # one for all: never are two replayed at a time
        # Threads that load pictures may allocate meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            names, losses = self._step(places)
        return _Captured(graph, places, names, losses, held)

    def _step(self, inputs: tuple[Tensor, ...]) -> tuple[tuple[str, ...], Tensor]:
        kind = inputs[0].device.type
        # What autocast has converted must not outlive the pass: a graph would read it from freed memory.
        with (
            self._fabric.autocast(),
            torch.autocast(
                kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
            ),
        ):
            losses = self._losses(*inputs)
            stacked = torch.stack(list(losses.values()))
        parameters, places = self._flat.parameters, self._flat.gradients
        found = torch.autograd.grad(stacked.sum(), parameters, allow_unused=True)
        pairs = [(place, grad) for place, grad in zip(places, found, strict=True) if grad is not None]
        torch._foreach_copy_([place for place, _ in pairs], [grad for _, grad in pairs])
        return tuple(losses), stacked.detach()


def obstacle(detector: Detector, fabric: Fabric) -> str:
    """Why training steps of a detector cannot be captured here; empty where they can."""
    if fabric.device.type != "cuda":
        return "only a CUDA GPU has graphs"
    if fabric.world_size > 1:
        return "several processes exchange gradients on the way back"
    if isinstance(fabric._precision, MixedPrecision) and fabric._precision.scaler is not None:
        return "fp16 scales its losses by what it has seen"
    if detector.adapter is not None and detector.adapter.live:
        return "live BatchNorm would take the passes before a capture into its statistics"
    return f"{detector.family}: {detector.uncapturable}" if detector.uncapturable else ""


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().partition("\n")[0][:200]
