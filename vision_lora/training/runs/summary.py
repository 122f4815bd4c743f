"""What a run gave, when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vision_lora.evaluation.coco_map import MapResult
from vision_lora.options.capacity import Norm, Rank

_PLACES = ("out", "result", "model", "val")


@dataclass(frozen=True)
class RunSummary:
    """What a run gave; all but where it lies stands in `summary.json`.

    Attributes:
        out: the run's folder.
        result: the adapter, or the trained checkpoint.
        model: the base, as the options of the run call it.
        val: how well the file does on the validation pictures.
        rule: by which thresholds were chosen on val.
        thresholds: of confidence, by class.
        method: `lora`, `full`, `freeze` or `head`.
        chosen: what a race has chosen, and why; empty where there was none.
        rank: of the low-rank factors.
        norm: BatchNorm's statistics, `frozen` or `live`.
        epochs: how many there were.
        best_epoch: the epoch that the file is of, from 1.
        steps: of all epochs.
        trainable_parameters: numbers that training changed.
        total_parameters: of the base.
        parameters_by_part: those that training changed, by what they are.
        adapter_bytes: size of the file.
        seconds_per_step: median, waiting for pictures not counted.
        images_per_second: in the last epoch.
        peak_memory_mib: on a GPU of tensors, else of the process.
        base: the base's name.
        base_fingerprint: of its weights.
        names: of the classes that were learned.
        images: pictures, by split.
        skipped: labels and pictures that could not be used, and why.
        batch: pictures in a step.
        lr: peak learning rate.
        ema: decay a step of the averaged weights.
        imgsz: side of the pictures, pixels.
        seed: of the run.
        device: that computed.
        precision: that it computed in.
        graphs: True where steps were CUDA graphs, else why not.
        versions: of what computed, by name.
    """

    out: Path
    result: Path
    model: str
    val: MapResult
    rule: str
    thresholds: Mapping[str, float]
    method: str
    chosen: str
    rank: Rank
    norm: Norm
    epochs: int
    best_epoch: int
    steps: int
    trainable_parameters: int
    total_parameters: int
    parameters_by_part: Mapping[str, int]
    adapter_bytes: int
    seconds_per_step: float
    images_per_second: float
    peak_memory_mib: float
    base: str
    base_fingerprint: str
    names: tuple[str, ...]
    images: Mapping[str, int]
    skipped: tuple[str, ...]
    batch: int
    lr: float
    ema: float
    imgsz: int
    seed: int
    device: str
    precision: str
    graphs: str | bool
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The values of `summary.json`."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _PLACES}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**self.val.to_json(), "split": "val", **plain}
