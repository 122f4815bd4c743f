"""Options of the verbs that detect in what is there already: `predict`, `evaluate`, `retention`."""

from __future__ import annotations

from dataclasses import dataclass

from vision_lora.options.common import BASE, Split
from vision_lora.options.option import Options, demand, option
from vision_lora.pictures.detections import Mode


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
    strict: bool = option(False, "stop at a broken label or picture instead of skipping it")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data), "data", "(nothing)", "the path of a dataset")


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
    confidence: float = option(0.25, "lowest score that counts, 0 to 1")
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
