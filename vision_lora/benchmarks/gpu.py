"""Time and memory of training steps on a GPU, methods and ways side by side, in turn, in one run."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vision_lora.benchmarks.steps import (
    CLASSES,
    NARROWER,
    Way,
    adapted,
    full,
    in_turn,
    peft_installed,
    peft_lora,
    training_step,
)
from vision_lora.datasets.batches.noise import noise_batch
from vision_lora.detectors.base import Detector

WARM_UPS = 3


@dataclass(frozen=True)
class GpuRow:
    """One measured method.

    Attributes:
        method: what was trained.
        way: as for `vision_lora.benchmarks.steps.training_step`.
        imgsz: side of the pictures, pixels.
        batch: pictures in a step.
        ms: of a step, median over the turns.
        by_full: median over the turns of its time by that of full fine-tuning, `plain`, in the same turn.
        by_full_graph: likewise, by full fine-tuning in a graph.
        mib_per_image: most memory that tensors took in the first steps and in a capture above what model and optimizer
            take at rest, by picture, MiB.
        memory_by_full: by full fine-tuning's, `plain`.
    """

    method: str
    way: Way
    imgsz: int
    batch: int
    ms: float
    by_full: float
    by_full_graph: float
    mib_per_image: float
    memory_by_full: float

    def to_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return asdict(self)


def gpu_rows(
    model: str, *, imgsz: int, batch: int, rank: int, dtype: str, repeats: int, device: str = "cuda", seed: int = 0
) -> list[GpuRow]:
    """Full fine-tuning, adapters and PEFT's LoRA (where `peft` is installed), as a plain loop and as a CUDA graph.

    Args:
        model: base checkpoint.
        imgsz: side of the pictures, pixels.
        batch: pictures in a step.
        rank: rank of all adapters.
        dtype: fp32 or bf16.
        repeats: turns; in each, every method does one step, every second turn backwards.
        device: a CUDA GPU.
        seed: of pictures, boxes and initial weights.
    """
    images, targets = noise_batch(imgsz, batch, CLASSES, seed)
    steps: dict[tuple[str, Way], Callable[[], Tensor]] = {}
    memory: dict[tuple[str, Way], float] = {}
    for method, way, make in _methods(model, rank):
        torch.manual_seed(seed)
        detector, learned = make()
        detector.to(device)
        learned.to(device)
        rest = _rest(device)
        step = training_step(detector, learned, images, targets, dtype, device=device, way=way)
        for _ in range(WARM_UPS):
            step()
        torch.cuda.synchronize(device)
        memory[method, way] = (torch.cuda.max_memory_allocated(device) - rest) / 2**20 / batch
        steps[method, way] = step
    seconds = in_turn(steps, repeats, lambda: torch.cuda.synchronize(device))
    return [
        GpuRow(
            method,
            way,
            imgsz,
            batch,
            round(statistics.median(times) * 1000, 2),
            _ratio(times, seconds["full", "plain"]),
            _ratio(times, seconds["full", "graph"]),
            round(memory[method, way], 1),
            round(memory[method, way] / memory["full", "plain"], 3),
        )
        for (method, way), times in seconds.items()
    ]


def _methods(model: str, rank: int) -> Iterator[tuple[str, Way, Callable[[], tuple[Detector, nn.Module]]]]:
    """What is measured; the first is the reference."""
    yield "full", "plain", partial(full, model)
    yield "full", "graph", partial(full, model)
    yield "lora", "plain", partial(adapted, model, rank)
    yield "lora", "graph", partial(adapted, model, rank)
    for placement in NARROWER:
        yield f"lora, {placement}", "graph", partial(adapted, model, rank, placement=placement)
    yield "lora-fa", "graph", partial(adapted, model, rank, "lora-fa")
    if peft_installed():
        yield "peft", "plain", partial(peft_lora, model, rank)


def _rest(device: str) -> int:
    """Bytes that tensors take now; what was most is forgotten."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _ratio(times: list[float], reference: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(times, reference, strict=True)), 3)
