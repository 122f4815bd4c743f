"""Options of the verbs that measure methods side by side: `compare`, `benchmark`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vision_lora.options import common
from vision_lora.options.common import Count, Precision
from vision_lora.options.option import Options, demand, option


@dataclass(frozen=True)
class CompareConfig(Options):
    """Train by several methods with the same data and budget, and say which is best, by how much, at what cost."""

    data: str = option("", common.DATA, required=common.A_DATASET)
    model: str = option("starter", common.BASE)
    methods: str = option(
        "lora,full,freeze,head",
        "lora, ssf, full, freeze, head, peft, ultralytics, by comma; options behind colons: lora:rank=16:variant=dora, "
        "lora:joint; the others are compared to the first",
    )
    shots: str = option(
        "all", "training pictures, by comma: all, a number of each class, or a .txt list of pictures of the train split"
    )
    seeds: str = option("0,1,2", "seeds by comma: each method runs once with each")
    retention: str | None = option(
        None, "dataset of everyday pictures whose val split shows what is left of the base's own classes"
    )
    replay: str | None = option(None, "folder of pictures, no labels needed, for methods with :joint")
    strict: bool = option(False, common.STRICT)
    lrs: str = option(
        "0.001,0.002,0.004",
        "learning rates, by comma, that each method tries with the first seed; the best on val is taken",
        "recipe",
    )
    epochs: int = option(20, "passes over the training pictures", "recipe", at_least=1)
    imgsz: int = common.side(0, common.OWN_SIZE, apart=0)
    batch: int = option(16, "pictures in one training step", "recipe", at_least=1)
    rank: int = option(8, "rank of the low-rank factors", "adapter", at_least=1)
    draws: int = option(500, common.DRAWS, "recipe", at_least=0)
    augment: str = option("surface", common.AUGMENT, "recipe")
    jobs: int = option(
        1,
        "training runs side by side; they share the device, so their times say little",
        "speed",
        at_least=1,
        at_most=64,
    )
    workers: Count = common.workers("processes that load pictures, of each run; auto: as in `train`")
    device: str = option("auto", common.DEVICE, "speed")
    precision: Precision = option("auto", common.PRECISION, "speed")
    out: str = option(
        "runs/compare", "folder for runs and report; where it holds a comparison, that one goes on", "output"
    )


@dataclass(frozen=True)
class BenchmarkConfig(Options):
    """Measure time and memory of training steps, and on the CPU of inference, all methods side by side."""

    model: str = option("starter", common.BASE)
    sizes: str = option("640x4", "sides of the square pictures, pixels, and pictures in a step: 320x16,640x16")
    rank: int = option(8, "rank of the adapters", at_least=1)
    repeats: int = option(
        9, "turns; in each, every method runs once, and medians over the turns are reported", at_least=1
    )
    seed: int = common.seed("seed of pictures and initial weights", "what")
    device: str = option(
        "cpu", "cpu, cuda, cuda:1; on a GPU steps are measured in bf16, as a plain loop and as a graph", "speed"
    )
    threads: int = option(2, "CPU threads", "speed", at_least=1, at_most=1024)
    json: str | None = option(None, "file for the rows as JSON", "output")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.pairs, "sizes", self.sizes, "sides (a multiple of 32) and batches, such as 320x16,640x16")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Side and batch of each size; none where one of them is neither."""
        read = [re.fullmatch(r"(\d{2,4})x(\d{1,4})", size.strip()) for size in self.sizes.split(",")]
        pairs = [(int(size[1]), int(size[2])) for size in read if size]
        return pairs if len(pairs) == len(read) and all(s >= 32 and s % 32 == 0 and b for s, b in pairs) else []
