"""Options of the verbs, but for the camera's own: the one source of the command line, the YAML files and the docs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from vision_lora.errors import ConfigError
from vision_lora.options.option import Budget, Options, demand, option
from vision_lora.options.placement import MANY, Placement
from vision_lora.options.threshold import FORMS, Rule
from vision_lora.pictures.detections import Mode

Method = Literal["lora", "full", "freeze", "head"]
Variant = Literal["lora", "rslora", "dora", "lora-fa", "ssf"]
Start = Literal["quiet", "random"]
Split = Literal["train", "val", "test"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Graphs = Literal["auto", "off"]
Workers = int | Literal["auto"]
ExportFormat = Literal["pt", "onnx", "openvino"]


BASE = "base detector: starter, which ships with the package; an official name, downloaded once; or a checkpoint's path"
PLACED = "which layers are adapted: all; deep: not where the picture is still large; neck (and head); head"
# Peak learning rates, and LoRA+'s ratio, best on val of NEU-DET and DeepPCB in few epochs (data/results/rates.json). A
# joint pass leaves the old classes behind where it learns as fast, factor A above all (neu-det/joint.json).
WEIGHTS_LR = 0.001
ADAPTER_LR, LORA_PLUS = 0.004, 2.0
JOINT_LR, JOINT_LORA_PLUS = 0.002, 4.0
OWN_SIZE = "side of the square pictures that the detector sees, pixels, a multiple of 32; 0: their own, from 320 to 640"


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


@dataclass(frozen=True)
class Using(Options):
    """What every verb needs that uses a trained detector."""

    model: str | None = option(None, BASE + "; default: the base that the adapter names")
    adapter: str | None = option(None, "adapter file; without it the base alone is used")
    imgsz: int | None = option(
        None, "side of the square pictures, pixels; default: what the adapter, or the base, was trained on"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.model or self.adapter), "model", "(nothing)", "a checkpoint, or an adapter with --adapter")


@dataclass(frozen=True)
class _Detecting(Using):
    """What every verb needs that detects in pictures."""

    batch: int = option(8, "pictures at once")
    tile: int = option(0, "detect in tiles of this side, pixels, and join what they show; 0 for whole pictures")
    overlap: float = option(0.2, "least share of a tile that its neighbour shows too")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    threads: int = option(0, "CPU threads that compute; 0: as many as other programs leave cores")


@dataclass(frozen=True)
class EvaluateConfig(_Detecting):
    """Measure mAP on a split of a dataset, as COCO does: of a picture, the 100 best detections of each class count."""

    data: str = option("", "dataset: a data.yaml, a COCO json, or a folder with one of them (required)")
    split: Split = option("val", "split to measure")
    classes: str | None = option(None, "its classes to measure, by comma; default: all")
    mode: Mode | None = option(None, "which classes are measured; default: defects with an adapter, else general")
    json: str | None = option(None, "file for the result as JSON")
    threshold: str | None = option(
        None, f"rule by which thresholds are chosen, for each class: {FORMS}; default: those that predict uses"
    )
    save: bool = option(
        False, "write the chosen thresholds onto the adapter's card: predict, camera and export use them"
    )
    report: str | None = option(None, "folder for a page with curves, mistakes and good and bad parts, JSON and CSV")
    parts: str = option(
        "picture",
        "which pictures show one part: picture (each its own), folder, a pattern with (...) around the part in the "
        "file name, or a .csv with the columns picture,part",
    )
    strict: bool = option(False, "stop at a broken label or picture instead of skipping it")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data), "data", "(nothing)", "the path of a dataset")
        if self.threshold is not None:
            Rule.parse(self.threshold)
            demand(self.split == "val", "threshold", self.threshold, "--split val: test says what the choice is worth")
        if self.save:
            demand(self.threshold is not None, "save", self.save, "--threshold RULE beside it")
            demand(self.adapter is not None, "save", self.save, "--adapter FILE, whose card takes them")


@dataclass(frozen=True)
class RetentionConfig(Options):
    """Measure what is left of the base's own classes: base, exact and joint passes, and a fine-tuned checkpoint."""

    data: str = option("", "dataset of the base's own classes, such as a part of COCO (required)")
    split: Split = option("val", "split to measure")
    model: str = option("starter", BASE)
    adapter: str | None = option(None, "adapter file to measure")
    tuned: str | None = option(None, "fully fine-tuned checkpoint to measure beside it")
    imgsz: int | None = option(None, "side of the square pictures, pixels; default: what the base was trained on")
    batch: int = option(8, "pictures at once")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    out: str = option("runs/retention", "folder for the report; where it exists a number is added")
    exist_ok: bool = option(False, "write into the folder even where it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data), "data", "(nothing)", "the path of a dataset")
        demand(
            self.adapter or self.tuned, "adapter", "(nothing)", "an adapter, or a checkpoint with --tuned, to measure"
        )


@dataclass(frozen=True)
class PredictConfig(_Detecting):
    """Detect in pictures or videos."""

    source: str = option("", "a picture, a video, a folder of them, or the pictures of a COCO .json (required)")
    mode: Mode = option("both", "which classes: general (the base's own), defects (the adapter's), both")
    confidence: float | None = option(
        None, "lowest score that counts, 0 to 1; default: the thresholds on the adapter's card, else 0.25"
    )
    iou: float = option(0.7, "overlap above which the weaker of two boxes of a class goes, 0 to 1")
    limit: int = option(300, "most detections of a picture, or a tile, and of each pass, best first; 1 to 10000")
    out: str = option("runs/predict", "folder for the annotated pictures; where it exists a number is added")
    exist_ok: bool = option(False, "write into the folder even where it exists")
    json: str | None = option(
        None, "file for the detections as COCO results; a .images.json beside it says what their ids stand for"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.source), "source", "(nothing)", "a picture, a folder or a video")
        demand(1 <= self.limit <= 10000, "limit", self.limit, "1 to 10000")
        demand(self.mode != "defects" or self.adapter is not None, "mode", self.mode, "--adapter FILE beside it")


@dataclass(frozen=True)
class ExportConfig(Using):
    """Write one plain network for deployment: the base with the adapter merged into it."""

    format: ExportFormat = option("onnx", "pt opens in ultralytics.YOLO; onnx is one file; openvino is .xml and .bin")
    out: str = option("", "file to write, with the format's own ending: .pt, .onnx, .xml (required)")
    exist_ok: bool = option(False, "replace the file where it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        ending = {"pt": ".pt", "onnx": ".onnx", "openvino": ".xml"}[self.format]
        demand(self.out.endswith(ending), "out", self.out or "(nothing)", f"a file that ends in {ending}")


@dataclass(frozen=True)
class InspectConfig(Options):
    """Look into an adapter file: what it learned, how much it changes each layer, and whether it fits a base."""

    file: str = option("", "adapter file (required)", positional=True)
    model: str | None = option(
        None, "base to hold it against: starter, an official name or a path; adds each change's relative size"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.file:
            raise ConfigError("no file given; expected an adapter: python -m vision_lora.inspect adapter.safetensors")


@dataclass(frozen=True)
class ModelsConfig(Options):
    """List the detectors that can be loaded, with their size and what an adapter changes in them."""

    model: str | None = option(None, "one of them, for its layers: which are adapted, how, and why not the others")
    rank: int = option(8, "rank of the low-rank factors")
    variant: Variant = option("lora", "kind of adapter")
    placement: Placement = option("all", PLACED)


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
class CheckConfig(Options):
    """Look for flaws in a dataset before they spoil a training run; exit code 1 where one would."""

    data: str = option("", "dataset: a data.yaml, a COCO json, or a folder with one of them or VOC files (required)")
    imgsz: int = option(640, "side at which it will be trained, pixels: decides which boxes are too small")
    fix: str | None = option(None, "new folder for a cleaned copy in YOLO form; the source is never touched")
    adapter: str | None = option(
        None,
        "adapter that was trained on such data, best on other pictures: labels that it doubts are listed",
    )
    model: str | None = option(None, "base of the adapter; default: the one that it names")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps: where the adapter detects")
    html: str | None = option(None, "file for the report as a page with pictures and plots")
    json: str | None = option(None, "file for the report as JSON, with every place and the proposed split")
    preview: str | None = option(None, "no check, but a .png of what the augmentation recipe does to these pictures")
    augment: str = option("surface", "recipe that --preview shows: surface, conveyor, none, or a YAML file's path")
    seed: int = option(0, "seed of the proposed split")
    strict: bool = option(False, "stop at the first broken label or picture instead of listing all")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data), "data", "(nothing)", "the path of a dataset")
        beside = [f"--{name}" for name in ("fix", "html", "json", "adapter") if getattr(self, name) is not None]
        if self.preview is not None:
            demand(
                not beside, "preview", self.preview, f"it alone, as it checks nothing: {' '.join(beside)} needs a check"
            )


@dataclass(frozen=True)
class DemoConfig(Options):
    """Make demo data: 240 synthetic factory pictures with boxes around their defects, and a conveyor video."""

    out: str = option("data/demo", "folder for it; what was made there before with the same seed stays")
    seed: int = option(0, "seed of everything: the same seed gives the same bytes on every machine")
    exist_ok: bool = option(False, "make it anew even where it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.seed >= 0, "seed", self.seed, "0 or more")
