"""Options of the verbs that measure methods side by side: `compare`, `benchmark`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from vision_lora.options.common import BASE, OWN_SIZE, Precision, Workers
from vision_lora.options.option import Options, demand, option


@dataclass(frozen=True)
class CompareConfig(Options):
    """Train by several methods with the same data and budget, and say which is best, by how much, at what cost."""

    own_size: ClassVar[bool] = True

    data: str = option("", "dataset: a data.yaml, a COCO json, or a folder with one of them (required)")
    model: str = option("starter", BASE)
    methods: str = option(
        "lora,full,freeze,head",
        "lora, ssf, full, freeze, head, peft, ultralytics, by comma; options behind colons: lora:rank=16:variant=dora, "
        "lora:joint; the others are compared to the first",
    )
    shots: str = option(
        "all", "training pictures, by comma: all, a number of each class, or a .txt list of pictures of the train split"
    )
    seeds: str = option("0,1,2", "seeds by comma: each method runs once with each")
    lrs: str = option(
        "0.001,0.002,0.004",
        "learning rates, by comma, that each method tries with the first seed; the best on val is taken",
    )
    epochs: int = option(20, "passes over the training pictures")
    imgsz: int = option(0, OWN_SIZE)
    batch: int = option(16, "pictures in one training step")
    rank: int = option(8, "rank of the low-rank factors")
    draws: int = option(500, "pictures in an epoch, at least: a smaller set is drawn several times, augmented anew")
    augment: str = option("surface", "augmentation recipe: surface, conveyor, none, or the path of a YAML file")
    retention: str | None = option(
        None, "dataset of everyday pictures whose val split shows what is left of the base's own classes"
    )
    replay: str | None = option(None, "folder of pictures, no labels needed, for methods with :joint")
    jobs: int = option(1, "training runs side by side; they share the device, so their times say little")
    workers: Workers = option("auto", "processes that load pictures, of each run; auto: as in `train`")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: Precision = option("auto", "auto: bf16 where the processor has it, else fp32")
    out: str = option("runs/compare", "folder for runs and report; where it holds a comparison, that one goes on")
    strict: bool = option(False, "stop at a broken label or picture instead of skipping it")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data), "data", "(nothing)", "the path of a dataset")
        demand(1 <= self.jobs <= 64, "jobs", self.jobs, "1 to 64")
        demand(self.draws >= 0, "draws", self.draws, "0 or more")


@dataclass(frozen=True)
class BenchmarkConfig(Options):
    """Measure time and memory of training steps, and on the CPU of inference, all methods side by side."""

    model: str = option("starter", BASE)
    sizes: str = option("640x4", "sides of the square pictures, pixels, and pictures in a step: 320x16,640x16")
    device: str = option(
        "cpu", "cpu, cuda, cuda:1; on a GPU steps are measured in bf16, as a plain loop and as a graph"
    )
    rank: int = option(8, "rank of the adapters")
    threads: int = option(2, "CPU threads")
    repeats: int = option(9, "turns; in each, every method runs once, and medians over the turns are reported")
    seed: int = option(0, "seed of pictures and initial weights")
    json: str | None = option(None, "file for the rows as JSON")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.threads >= 1, "threads", self.threads, "1 or more")
        demand(self.pairs, "sizes", self.sizes, "sides (a multiple of 32) and batches, such as 320x16,640x16")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Side and batch of each size; none where one of them is neither."""
        read = [re.fullmatch(r"(\d{2,4})x(\d{1,4})", size.strip()) for size in self.sizes.split(",")]
        pairs = [(int(size[1]), int(size[2])) for size in read if size]
        return pairs if len(pairs) == len(read) and all(s >= 32 and s % 32 == 0 and b for s, b in pairs) else []
