"""Options of `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vision_lora.options.budget import Budget
from vision_lora.options.common import BASE, OWN_SIZE, PLACED, Precision, Variant, Workers
from vision_lora.options.option import Options, demand, option
from vision_lora.options.placement import MANY, Placement

Method = Literal["lora", "full", "freeze", "head"]
Start = Literal["quiet", "random"]
Graphs = Literal["auto", "off"]

# Peak learning rates, and LoRA+'s ratio, best on val of NEU-DET and DeepPCB in few epochs (data/results/rates.json). A
# joint pass leaves the old classes behind where it learns as fast, factor A above all (neu-det/joint.json).
WEIGHTS_LR = 0.001
ADAPTER_LR, LORA_PLUS = 0.004, 2.0
JOINT_LR, JOINT_LORA_PLUS = 0.002, 4.0


@dataclass(frozen=True)
class TrainConfig(Options):
    """Teach a detector the classes of a dataset: the result is one adapter file."""

    own_size: ClassVar[bool] = True

    data: str = option("", "dataset: a data.yaml, a COCO json, or a folder with one of them (required)")
    classes: str | None = option(None, "its classes to learn, by comma; objects of the others are background")
    model: str = option("starter", BASE)
    method: Method = option(
        "lora", "lora trains an adapter; full every weight, freeze all but the backbone, head the head: to compare with"
    )
    rank: int = option(8, "rank of the low-rank factors; capped where they would outgrow a layer's weight")
    alpha: float | None = option(
        None,
        "numerator of the factor before the low-rank part; default: 16 (5.7 for rslora), a factor of 2 at rank 8",
    )
    variant: Variant = option(
        "lora", "kind of adapter: low rank, rank-stabilised, weight-decomposed, low-memory, scale and shift only"
    )
    start: Start | None = option(
        None,
        "factor A at the start: random; quiet hears what sets the new pictures apart from everyday ones; default: "
        "quiet in a joint pass, else random",
    )
    placement: Placement | None = option(
        None, f"{PLACED}; default: deep with fewer than {MANY} training pictures, else all"
    )
    budget: str | None = option(
        None,
        "adapt the layers that matter most within 5% of the parameters, or 1.5x the time of one pass in both passes",
    )
    joint: bool = option(False, "one pass for old and new classes; an adapter keeps the old ones by self-distillation")
    replay: str | None = option(
        None, "folder of pictures, no labels needed, that a joint pass stays the same on; default: drawn ones"
    )
    retain_weight: float = option(0.5, "weight of staying as before against learning the new classes, in a joint pass")
    on: str | None = option(None, "adapter file to go on from: its classes stay in a joint pass, else a warm start")
    epochs: int = option(20, "passes over the training pictures")
    imgsz: int = option(0, OWN_SIZE)
    grow: float = option(1.0, "share of --imgsz that the first epochs see; it grows to 1 for the last quarter of them")
    batch: int = option(16, "pictures in one training step, over all devices")
    lr: float | None = option(
        None,
        f"peak learning rate of AdamW; default: {ADAPTER_LR} for an adapter, {JOINT_LR} in a joint pass, "
        f"{WEIGHTS_LR} for the network's own weights",
    )
    lora_plus: float | None = option(
        None,
        "learning rate of the factor B, and of all else, by that of A (LoRA+); default: "
        f"{LORA_PLUS:g}, in a joint pass {JOINT_LORA_PLUS:g}",
    )
    weight_decay: float = option(0.0005, "weight decay of AdamW, on factors and weights, not on biases and scales")
    warmup: float = option(1.0, "epochs of linear warm-up before the cosine decay to 1 % of the peak")
    clip: float = option(10.0, "largest norm of the gradient")
    ema: float = option(0.995, "decay a step of the averaged weights, which are validated and saved; 0 turns it off")
    patience: int = option(50, "epochs without a better mAP50-95 on val before training stops")
    tile: int = option(0, "cut pictures into tiles of this side, pixels, for small defects in large frames; 0: whole")
    overlap: float = option(0.2, "least share of a tile that its neighbour shows too")
    draws: int = option(500, "pictures in an epoch, at least: a smaller set is drawn several times, augmented anew")
    balanced: bool = option(False, "draw pictures of rare classes more often")
    augment: str = option("surface", "augmentation recipe: surface, conveyor, none, or the path of a YAML file")
    seed: int = option(0, "seed of initial weights, order and augmentation")
    workers: Workers = option("auto", "processes that load pictures; auto: one, for a GPU one a core, at most 12")
    threads: int = option(0, "CPU threads that compute; 0: as many as other programs leave cores, all through the run")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    devices: int = option(1, "processes that train together, each on a GPU of its own, or sharing the CPU")
    precision: Precision = option("auto", "auto: bf16 where the processor has it, else fp32")
    graphs: Graphs = option(
        "auto", "CUDA graphs of whole training steps: auto where a GPU and the detector can, or off"
    )
    out: str = option("runs/train", "folder for the results; where it exists a number is added")
    exist_ok: bool = option(False, "write into the folder even where it exists")
    resume: str | None = option(None, "folder of an interrupted run to continue, with the options it was started with")
    strict: bool = option(False, "stop at a broken label or picture instead of skipping it")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data) or self.resume is not None, "data", "(nothing)", "the path of a dataset")
        demand(0 < self.b_by_a <= 1000, "lora_plus", self.lora_plus, "more than 0, at most 1000")
        demand(0 < self.peak_lr < 1, "lr", self.lr, "more than 0, less than 1")
        demand(self.alpha is None or self.alpha > 0, "alpha", self.alpha, "more than 0")
        demand(0 <= self.ema < 1, "ema", self.ema, "0 or more, less than 1")
        demand(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        demand(self.warmup >= 0, "warmup", self.warmup, "0 or more")
        demand(self.devices <= self.batch, "devices", self.devices, f"at most --batch, {self.batch}")
        demand(self.retain_weight >= 0, "retain_weight", self.retain_weight, "0 or more")
        if self.budget is not None:
            Budget.parse(self.budget)
        if self.method != "lora":
            demand(self.budget is None, "budget", self.budget, "--method lora, which chooses layers")
            demand(self.replay is None, "replay", self.replay, "--method lora, whose old classes can be kept")
            demand(self.on is None, "on", self.on, "--method lora, which learns adapters")
            demand(self.start is None, "start", self.start, "--method lora, whose factors start somewhere")
        demand(self.on is None or self.start is None, "start", self.start, "no --on, which brings its factors")
        demand(
            self.variant != "ssf" or self.start is None, "start", self.start, "no --variant ssf, which has no factors"
        )
        demand(self.on is None or self.budget is None, "budget", self.budget, "no --on, whose layers stay")
        demand(self.joint or self.replay is None, "replay", self.replay, "--joint beside it")
        demand(self.draws >= 0, "draws", self.draws, "0 or more")
        demand(self.clip > 0, "clip", self.clip, "more than 0")
        demand(0 < self.grow <= 1, "grow", self.grow, "more than 0, at most 1")

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up."""
        if self.lr is not None:
            return self.lr
        if self.method != "lora":
            return WEIGHTS_LR
        return JOINT_LR if self.joint else ADAPTER_LR

    @property
    def b_by_a(self) -> float:
        """Learning rate of the factor B by that of A."""
        if self.lora_plus is not None:
            return self.lora_plus
        return JOINT_LORA_PLUS if self.joint else LORA_PLUS

    @property
    def quiet(self) -> bool:
        """Whether factor A is set from pictures before the first step."""
        return (
            self.method == "lora"
            and self.variant != "ssf"  # it has no factors
            and self.on is None
            and (self.start or ("quiet" if self.joint else "random")) == "quiet"
        )
