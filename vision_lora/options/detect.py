"""Options of the verbs that detect in what is there already: `predict`, `evaluate`, `retention`, `propose`."""

from __future__ import annotations

from dataclasses import dataclass

from vision_lora.options import common
from vision_lora.options.common import Split
from vision_lora.options.option import Options, demand, option
from vision_lora.options.threshold import FORMS, Rule
from vision_lora.pictures.detections import Mode


@dataclass(frozen=True)
class Using(Options):
    """What every verb needs that uses a trained detector."""

    adapter: str | None = option(None, "adapter file; without it the base alone is used")
    model: str | None = option(None, f"{common.BASE}; default: the base that the adapter names")
    imgsz: int | None = common.side(
        None, "side of the square pictures; default: what the adapter, or the base, was trained on", "detection"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.model or self.adapter, "model", "(nothing)", "a checkpoint, or an adapter with --adapter")


@dataclass(frozen=True)
class _Detecting(Using):
    """What every verb needs that detects in pictures."""

    batch: int = option(8, "pictures at once", "speed", at_least=1)
    tile: int = common.tile("detect in tiles of this side, and join what they show; 0 for whole pictures", "detection")
    overlap: float = option(0.2, common.OVERLAP, "detection", at_least=0, less_than=1)
    device: str = option("auto", common.DEVICE, "speed")
    threads: int = common.threads("CPU threads that compute; 0: as many as other programs leave cores")


@dataclass(frozen=True)
class EvaluateConfig(_Detecting):
    """Measure mAP on a split of a dataset, as COCO does: of a picture, the 100 best detections of each class count."""

    data: str = option("", common.DATA, required=common.A_DATASET)
    split: Split = option("val", "split to measure")
    classes: str | None = option(None, "its classes to measure, by comma; default: all")
    mode: Mode | None = option(None, "which classes are measured; default: defects with an adapter, else general")
    threshold: str | None = option(
        None, f"rule by which thresholds are chosen, for each class: {FORMS}; default: those that predict uses"
    )
    parts: str = option(
        "picture",
        "which pictures show one part: picture (each its own), folder, a pattern with (...) around the part in the "
        "file name, or a .csv with the columns picture,part",
    )
    json: str | None = option(None, common.JSON, "output")
    report: str | None = option(
        None, "folder for a page with curves, mistakes and good and bad parts, JSON and CSV", "output"
    )
    save: bool = option(
        False, "write the chosen thresholds onto the adapter's card: predict, camera and export use them", "output"
    )
    strict: bool = option(False, common.STRICT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None:
            Rule.parse(self.threshold)
            demand(self.split == "val", "threshold", self.threshold, "--split val: test says what the choice is worth")
        if self.save:
            demand(self.threshold is not None, "save", self.save, "--threshold RULE beside it")
            demand(self.adapter is not None, "save", self.save, "--adapter FILE, whose card takes them")


@dataclass(frozen=True)
class RetentionConfig(Options):
    """Measure what is left of the base's own classes: base, exact and joint passes, and a fine-tuned checkpoint."""

    data: str = option("", "dataset of the base's own classes, such as a part of COCO", required=common.A_DATASET)
    split: Split = option("val", "split to measure")
    model: str = option("starter", common.BASE)
    adapter: str | None = option(None, "adapter file to measure")
    tuned: str | None = option(None, "fully fine-tuned checkpoint to measure beside it")
    imgsz: int | None = common.side(
        None, "side of the square pictures; default: what the base was trained on", "detection"
    )
    batch: int = option(8, "pictures at once", "speed", at_least=1)
    device: str = option("auto", common.DEVICE, "speed")
    out: str = option("runs/retention", f"folder for the report; {common.NEW_FOLDER}", "output")
    exist_ok: bool = option(False, common.EXIST_OK, "output")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(
            self.adapter or self.tuned, "adapter", "(nothing)", "an adapter, or a checkpoint with --tuned, to measure"
        )


@dataclass(frozen=True)
class PredictConfig(_Detecting):
    """Detect in pictures or videos."""

    source: list[str] | str | None = option(
        None,
        "pictures, videos, folders of them, or patterns such as 'line3/*.png'; or the pictures of a COCO .json",
        required="a picture, a folder or a video",
        repeated=True,
    )
    mode: Mode | None = option(None, common.MODE)
    confidence: float | None = option(None, common.CONFIDENCE, "detection", at_least=0, at_most=1)
    iou: float = common.iou()
    limit: int = option(
        300,
        "most detections of a picture, or a tile, and of each pass, best first",
        "detection",
        at_least=1,
        at_most=10000,
    )
    out: str = option("runs/predict", f"folder for the annotated pictures; {common.NEW_FOLDER}", "output")
    exist_ok: bool = option(False, common.EXIST_OK, "output")
    json: str | None = option(
        None,
        "file for the detections as COCO results; a .images.json beside it says what their ids stand for",
        "output",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.mode != "defects" or self.adapter is not None, "mode", self.mode, "--adapter FILE beside it")

    @property
    def sources(self) -> list[str]:
        """All that is to be detected in, in the order given."""
        return [self.source] if isinstance(self.source, str) else self.source or []


@dataclass(frozen=True)
class ProposeConfig(Using):
    """Choose the pictures to label next, and write them with pre-labels for labelling tools."""

    adapter: str = option("", "adapter that is to learn more", required="the adapter that is to learn more")
    source: str = option(
        "", "folder of unlabelled pictures, such as that of camera --collect", required="a folder of pictures"
    )
    data: str = option("", f"what is labelled: {common.DATA}", required=common.A_DATASET)
    count: int = option(50, "pictures to choose", at_least=1)
    batch: int = option(8, "pictures at once", "speed", at_least=1)
    device: str = option("auto", common.DEVICE, "speed")
    out: str = option(
        "", "new folder for the pictures with pre-labels: YOLO, COCO, Label Studio", "output", required="a new folder"
    )
