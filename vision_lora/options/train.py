"""Options of `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vision_lora.options import common
from vision_lora.options.capacity import Budget, Norm, Rank, demand_capacity
from vision_lora.options.common import Count, Precision, Variant
from vision_lora.options.option import Options, demand, option
from vision_lora.options.placement import MANY, Placement

Method = Literal["lora", "full", "freeze", "head"]
TRACKERS = ("tensorboard", "mlflow", "wandb")  # a file of each is in vision_lora/training/trackers
Start = Literal["quiet", "random"]
Graphs = Literal["auto", "off"]

# Peak learning rates at BATCH, and LoRA+'s ratio, best on val of NEU-DET and DeepPCB in few epochs
# (data/results/rates.json). A joint pass leaves the old classes behind where it learns as fast, factor A above all
# (neu-det/joint.json).
BATCH, WEIGHTS_LR = 16, 0.001
ADAPTER_LR, LORA_PLUS = 0.004, 2.0
JOINT_LR, JOINT_LORA_PLUS = 0.002, 4.0


@dataclass(frozen=True)
class TrainConfig(Options):
    """Teach a detector the classes of a dataset: the result is one adapter file."""

    data: str = option("", f"{common.DATA} (required, but with --resume)", "most used")
    model: str = option("starter", common.BASE, "most used")
    classes: str | None = option(
        None, "its classes to learn, by comma; objects of the others are background", "most used"
    )
    epochs: int = option(20, "passes over the training pictures", "most used", at_least=1)
    imgsz: int = common.side(0, common.OWN_SIZE, "most used", apart=0)
    batch: Count = option(
        BATCH,
        "pictures a step, of all devices; auto: what a GPU holds, --lr and --ema to suit",
        "most used",
        at_least=1,
    )
    rank: Rank = option(
        8,
        "rank of the low-rank factors, capped in small layers; auto: it and --norm win a short race",
        "most used",
        at_least=1,
    )
    joint: bool = option(
        False, "one pass for old and new classes; an adapter keeps the old ones by self-distillation", "most used"
    )
    device: str = option("auto", common.DEVICE, "most used")
    out: str = option("runs/train", f"folder for the results; {common.NEW_FOLDER}", "most used")

    method: Method = option(
        "lora", "lora trains an adapter; full every weight, freeze all but the backbone, head the head: to compare with"
    )
    on: str | None = option(None, "adapter file to go on from: its classes stay in a joint pass, else a warm start")
    resume: str | None = option(None, "folder of an interrupted run to continue, with the options it was started with")
    strict: bool = option(False, common.STRICT)
    yes: bool = option(False, "write the data.yaml that a folder of pictures and .txt labels lacks, val part and all")

    variant: Variant = option(
        "lora",
        "kind of adapter: low rank, rank-stabilised, weight-decomposed, low-memory, scale and shift only",
        "adapter",
    )
    alpha: float | None = option(
        None,
        "numerator of the factor before the low-rank part; default: a factor of 2 at rank 8, which falls with the root "
        "of the rank",
        "adapter",
        more_than=0,
    )
    norm: Norm = option(
        "frozen",
        "BatchNorm's statistics: frozen ones are the base's; live ones the new pictures', folded into the file",
        "adapter",
    )
    start: Start | None = option(
        None,
        "factor A at the start: random; quiet hears what sets the new pictures apart from everyday ones; default: "
        "quiet in a joint pass, else random",
        "adapter",
    )
    placement: Placement | None = option(
        None, f"{common.PLACED}; default: deep with fewer than {MANY} training pictures, else all", "adapter"
    )
    budget: str | None = option(
        None,
        "adapt the layers that matter most within 5% of the parameters, or 1.5x the time of one pass in both passes",
        "adapter",
    )
    replay: str | None = option(
        None,
        "folder of pictures, no labels needed, that a joint pass stays the same on; default: drawn ones",
        "adapter",
    )
    retain_weight: float = option(
        0.5,
        "weight of staying as before against learning the new classes, in a joint pass",
        "adapter",
        at_least=0,
    )

    grow: float = option(
        1.0,
        "share of --imgsz that the first epochs see; it grows to 1 for the last quarter of them",
        "recipe",
        more_than=0,
        at_most=1,
    )
    lr: float | None = option(
        None,
        f"peak learning rate of AdamW; default: {ADAPTER_LR} for an adapter, {JOINT_LR} in a joint pass, "
        f"{WEIGHTS_LR} for the network's own weights",
        "recipe",
        more_than=0,
        less_than=1,
    )
    lora_plus: float | None = option(
        None,
        "learning rate of the factor B, and of all else, by that of A (LoRA+); default: "
        f"{LORA_PLUS:g}, in a joint pass {JOINT_LORA_PLUS:g}",
        "recipe",
        more_than=0,
        at_most=1000,
    )
    weight_decay: float = option(
        0.0005, "weight decay of AdamW, on factors and weights, not on biases and scales", "recipe", at_least=0
    )
    warmup: float = option(
        1.0, "epochs of linear warm-up before the cosine decay to 1 % of the peak", "recipe", at_least=0
    )
    clip: float = option(10.0, "largest norm of the gradient", "recipe", more_than=0)
    ema: float = option(
        0.995,
        "decay a step of the averaged weights, which are validated and saved; 0 turns it off",
        "recipe",
        at_least=0,
        less_than=1,
    )
    patience: int = option(50, "epochs without a better mAP50-95 on val before training stops", "recipe", at_least=1)
    tile: int = common.tile(
        "cut pictures into tiles of this side, for small defects in large frames; 0: whole", "recipe"
    )
    overlap: float = option(0.2, common.OVERLAP, "recipe", at_least=0, less_than=1)
    draws: int = option(500, common.DRAWS, "recipe", at_least=0)
    balanced: bool = option(False, "draw pictures of rare classes more often", "recipe")
    augment: str = option("surface", common.AUGMENT, "recipe")
    seed: int = common.seed("seed of initial weights, order and augmentation")

    workers: Count = common.workers("processes that load pictures; auto: one, for a GPU one a core, at most 12")
    threads: int = common.threads(
        "CPU threads that compute; 0: as many as other programs leave cores, all through the run"
    )
    devices: int = option(
        1, "processes that train together, each on a GPU of its own, or sharing the CPU", "speed", at_least=1
    )
    precision: Precision = option("auto", common.PRECISION, "speed")
    graphs: Graphs = option(
        "auto", "CUDA graphs of whole training steps: auto where a GPU and the detector can, or off", "speed"
    )
    exist_ok: bool = option(False, common.EXIST_OK, "output")
    log: str | None = option(None, f"trackers that follow the run, by comma: {', '.join(TRACKERS)}", "output")
    verbose: bool = option(
        False, "print every layer's part, each class's mAP and each label that was skipped", "output"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        trackers = [] if self.log is None else self.log.split(",")
        known = set(trackers) <= set(TRACKERS) and len(set(trackers)) == len(trackers)
        demand(known, "log", self.log, f"some of {', '.join(TRACKERS)}, by comma, each once")
        demand(self.data or self.resume is not None, "data", "(nothing)", common.A_DATASET)
        demand(self.devices <= self.batch_size, "devices", self.devices, f"at most --batch, {self.batch_size}")
        if self.budget is not None:
            Budget.parse(self.budget)
        if self.method != "lora":
            demand(self.budget is None, "budget", self.budget, "--method lora, which chooses layers")
            demand(self.replay is None, "replay", self.replay, "--method lora, whose old classes can be kept")
            demand(self.on is None, "on", self.on, "--method lora, which learns adapters")
            demand(self.start is None, "start", self.start, "--method lora, whose factors start somewhere")
        demand_capacity(self)
        demand(self.on is None or self.start is None, "start", self.start, "no --on, which brings its factors")
        demand(
            self.variant != "ssf" or self.start is None, "start", self.start, "no --variant ssf, which has no factors"
        )
        demand(self.on is None or self.budget is None, "budget", self.budget, "no --on, whose layers stay")
        demand(self.joint or self.replay is None, "replay", self.replay, "--joint beside it")

    @property
    def batch_size(self) -> int:
        """Pictures in a step; the recipe's, where no device has been asked yet."""
        return BATCH if self.batch == "auto" else self.batch

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
