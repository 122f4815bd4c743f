"""Time and memory of a training step, and of inference: every row measured side by side, in turn, in one run."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter, save_adapter
from vision_lora.benchmarks.probe import saved_mib
from vision_lora.datasets.batches.batch import Batch
from vision_lora.datasets.batches.noise import noise_batch
from vision_lora.detectors.base import Detector
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.options.capacity import Norm
from vision_lora.options.placement import Placement
from vision_lora.pictures.detections import Mode
from vision_lora.system.devices import make_fabric
from vision_lora.training.loop.flat import Flat
from vision_lora.training.loop.graphs import Backward, Eager, Graphed
from vision_lora.training.loop.learning import Step
from vision_lora.training.loop.objective import Task

Way = Literal["plain", "flat", "graph"]
Key = TypeVar("Key")

CLASSES = 6
NARROWER: tuple[Placement, ...] = ("deep", "neck", "head")  # than `all`


@dataclass(frozen=True)
class Row:
    """One measured method.

    Attributes:
        method: what was run.
        dtype: `fp32`, or `bf16` under autocast.
        imgsz: side of the pictures, pixels.
        ms_per_image: median over the repeats; of one switch where there are no pictures.
        saved_mib_per_image: what the forward keeps for the backward, parameters not counted; 0 for inference.
        time_ratio: median over the repeats of this method's time by the first method's, of the same turn.
        memory_ratio: saved memory by the first method's.
        images_per_second: 1000 / ms_per_image.
    """

    method: str
    dtype: str
    imgsz: int
    ms_per_image: float
    saved_mib_per_image: float
    time_ratio: float
    memory_ratio: float
    images_per_second: float

    def to_json(self) -> dict[str, Any]:
        """The row as plain values."""
        return asdict(self)


def training_rows(
    model: str, *, imgsz: int, batch: int, rank: int, dtype: str, repeats: int, seed: int = 0
) -> list[Row]:
    """Full fine-tuning (the reference), adapters, and PEFT's LoRA on the same layers where `peft` is installed.

    A step is forward, loss, backward, clipping and AdamW, as `vision_lora.training.loop.learning` does it, on the CPU.

    Args:
        model: base checkpoint.
        imgsz: side of the pictures, pixels.
        batch: pictures in a step.
        rank: rank of all adapters.
        dtype: fp32 or bf16.
        repeats: turns; in each, every method does one step.
        seed: of pictures, boxes and initial weights.
    """
    images, targets = noise_batch(imgsz, batch, CLASSES, seed)
    steps: dict[str, Callable[[], Tensor]] = {}
    saved: dict[str, float] = {}
    for method, make in _methods(model, rank).items():
        torch.manual_seed(seed)
        detector, learned = make()
        steps[method] = training_step(detector, learned, images, targets, dtype, way="flat")
        steps[method]()  # warm-up, and the optimizer's state
        saved[method] = saved_mib(detector, learned, images, targets, dtype) / batch
    seconds = in_turn(steps, repeats)
    return _rows(seconds, saved, dtype, imgsz, batch)


def inference_rows(model: str, *, imgsz: int, batch: int, rank: int, repeats: int, seed: int = 0) -> list[Row]:
    """The merged network (the reference), the attached adapter, the bare base, and both passes by placement."""
    images, _ = noise_batch(imgsz, batch, CLASSES, seed)
    detectors = {name: adapted(model, rank, "lora", seed)[0] for name in ("merged", "attached", "both, all")}
    for placement in NARROWER:
        detectors[f"both, {placement}"] = adapted(model, rank, "lora", seed, placement)[0]
    detectors["base"] = load_base(model)
    detectors["merged"].merge()
    modes: dict[str, Mode] = {name: "both" for name in detectors if name.startswith("both")}
    modes["attached"] = "defects"
    steps = {
        f"inference {name}": partial(detector.detect, images, mode=modes.get(name, "general"))
        for name, detector in detectors.items()
    }
    for step in steps.values():
        step()
    return _rows(in_turn(steps, repeats), dict.fromkeys(steps, 0.0), "fp32", imgsz, batch)


def switch_rows(model: str, *, imgsz: int, rank: int, repeats: int, seed: int = 0) -> list[Row]:
    """What a change of product line costs: between two attached adapters, and from a file on disk."""
    detector, first = adapted(model, rank, "lora", seed)
    detector.attach(new_adapter(detector, _names(), rank=rank), "second")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adapter.safetensors"
        assert isinstance(first, Adapter)
        save_adapter(first, file)

        def switch() -> None:
            detector.adapters.use("default" if detector.adapters.active == "second" else "second")

        def load() -> None:
            detector.attach(load_adapter(file), "loaded")
            detector.adapters.detach("loaded")
            detector.adapters.use("second")

        steps = {"switch adapters": switch, "load a file and switch": load}
        for step in steps.values():
            step()
        return _rows(in_turn(steps, repeats), dict.fromkeys(steps, 0.0), "fp32", imgsz, 1)


def _methods(model: str, rank: int) -> dict[str, Callable[[], tuple[Detector, nn.Module]]]:
    methods: dict[str, Callable[[], tuple[Detector, nn.Module]]] = {
        "full": lambda: full(model),
        "lora": lambda: adapted(model, rank, "lora", 0),
        **{f"lora, {place}": partial(adapted, model, rank, placement=place) for place in NARROWER},
        "lora, live": lambda: adapted(model, rank, norm="live"),
        "lora-fa": lambda: adapted(model, rank, "lora-fa", 0),
    }
    return {**methods, "peft": lambda: peft_lora(model, rank)} if peft_installed() else methods


def peft_installed() -> bool:
    """Whether there is something to compare with."""
    return importlib.util.find_spec("peft") is not None


def full(model: str) -> tuple[Detector, nn.Module]:
    """A detector for `CLASSES` classes whose every weight trains, and its network."""
    detector = load_base(model, fold=False)
    replace_classes(detector, _names())
    unfreeze(detector)
    return detector, detector.network


def adapted(
    model: str,
    rank: int = 8,
    variant: str = "lora",
    seed: int = 0,
    placement: Placement = "all",
    norm: Norm = "frozen",
) -> tuple[Detector, nn.Module]:
    """A detector with an untrained adapter for `CLASSES` classes, attached, and that adapter."""
    detector = load_base(model)
    torch.manual_seed(seed)
    adapter = new_adapter(detector, _names(), rank=rank, variant=variant, placement=placement)
    if norm == "live":
        adapter.thaw(detector.norms)
    detector.attach(adapter)
    return detector, adapter


def peft_lora(model: str, rank: int) -> tuple[Detector, nn.Module]:
    """A detector for `CLASSES` classes with PEFT's LoRA, and its network."""
    from vision_lora.benchmarks.peft import with_peft

    detector = with_peft(model, _names(), rank)
    return detector, detector.network


def training_step(
    detector: Detector,
    learned: nn.Module,
    images: Tensor,
    targets: Tensor,
    dtype: str,
    *,
    device: str = "cpu",
    way: Way = "plain",
) -> Callable[[], Tensor]:
    """One training step on always the same pictures, to be called again and again.

    Args:
        detector: to be trained.
        learned: the module whose parameters change.
        images: (B, 3, S, S) uint8 RGB.
        targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels.
        dtype: fp32 or bf16.
        device: as for `vision_lora.system.devices.pick_device`.
        way: `plain` is the loop that everybody writes; `flat` has its parameters in long tensors, as `fit` has them on
            a CPU; `graph` is a CUDA graph besides, as `fit` has it on a GPU.

    Returns:
        The step; it gives the losses, (n,), which may be overwritten by the next one.
    """
    fabric = make_fabric(device, dtype)
    module = Step(detector.network, learned, Task(detector)).to(fabric.device)
    batch = Batch(images, targets, *(torch.zeros(len(images)),) * 3)
    batch = (batch.with_room() if way == "graph" else batch).to(fabric.device)
    parameters = [parameter for parameter in learned.parameters() if parameter.requires_grad]
    if way == "plain":
        optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

        def plain() -> Tensor:
            with fabric.autocast():
                losses = torch.stack(list(module(batch.images, batch.targets).values()))
            losses.sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
            optimizer.zero_grad()
            return losses.detach()

        return plain
    flat = Flat([{"params": parameters}])
    optimizer = torch.optim.AdamW(flat.groups, lr=1e-4, fused=True)
    eager = Eager(fabric.setup_module(module, move_to_device=False), fabric)
    backward: Backward = Graphed(module, flat, detector.network, fabric, eager) if way == "graph" else eager

    def step() -> Tensor:
        _, losses = backward(batch.images, batch.targets)
        torch.nn.utils.clip_grad_norm_(flat.tensors, 10.0)
        optimizer.step()
        flat.zero_grad()
        return losses

    return step


def in_turn(
    steps: Mapping[Key, Callable[[], object]], repeats: int, wait: Callable[[], object] = lambda: None
) -> dict[Key, list[float]]:
    """Seconds of each method in each turn: one after the other, so that all see the same moods of the machine.

    Every second turn runs backwards, so that no method always comes after the same one.

    Args:
        steps: what is measured.
        repeats: turns.
        wait: for what a step has left to a device.
    """
    seconds: dict[Key, list[float]] = {method: [] for method in steps}
    for turn in range(repeats):
        for method in list(steps)[:: 1 if turn % 2 == 0 else -1]:
            wait()
            started = time.perf_counter()
            steps[method]()
            wait()
            seconds[method].append(time.perf_counter() - started)
    return seconds


def _rows(seconds: dict[str, list[float]], saved: dict[str, float], dtype: str, imgsz: int, batch: int) -> list[Row]:
    reference = next(iter(seconds))
    rows = []
    for method, times in seconds.items():
        milliseconds = statistics.median(times) * 1000 / batch
        ratio = statistics.median(a / b for a, b in zip(times, seconds[reference], strict=True))
        memory = saved[method] / saved[reference] if saved[reference] else 0.0
        rows.append(Row(method, dtype, imgsz, milliseconds, saved[method], ratio, memory, 1000 / milliseconds))
    return rows


def _names() -> Sequence[str]:
    return [f"class {index}" for index in range(CLASSES)]
