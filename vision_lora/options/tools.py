"""Options of the verbs beside training and detecting: `check`, `export`, `inspect`, `models`, `demo`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vision_lora.errors import ConfigError
from vision_lora.options.common import PLACED, Variant
from vision_lora.options.detect import Using
from vision_lora.options.option import Options, demand, option
from vision_lora.options.placement import Placement

ExportFormat = Literal["pt", "onnx", "openvino"]


@dataclass(frozen=True)
class CheckConfig(Options):
    """Look for flaws in a dataset before they spoil a training run; exit code 1 where one would."""

    data: str = option("", "dataset: a data.yaml, a COCO json, or a folder with one of them or VOC files (required)")
    imgsz: int = option(640, "side at which it will be trained, pixels: decides which boxes are too small")
    fix: str | None = option(None, "new folder for a cleaned copy in YOLO form; the source is never touched")
    html: str | None = option(None, "file for the report as a page with pictures and plots")
    json: str | None = option(None, "file for the report as JSON, with every place and the proposed split")
    preview: str | None = option(None, "no check, but a .png of what the augmentation recipe does to these pictures")
    augment: str = option("surface", "recipe that --preview shows: surface, conveyor, none, or a YAML file's path")
    seed: int = option(0, "seed of the proposed split")
    strict: bool = option(False, "stop at the first broken label or picture instead of listing all")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(bool(self.data), "data", "(nothing)", "the path of a dataset")
        beside = [f"--{name}" for name in ("fix", "html", "json") if getattr(self, name) is not None]
        if self.preview is not None:
            demand(
                not beside, "preview", self.preview, f"it alone, as it checks nothing: {' '.join(beside)} needs a check"
            )


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
class DemoConfig(Options):
    """Make demo data: 240 synthetic factory pictures with boxes around their defects, and a conveyor video."""

    out: str = option("data/demo", "folder for it; what was made there before with the same seed stays")
    seed: int = option(0, "seed of everything: the same seed gives the same bytes on every machine")
    exist_ok: bool = option(False, "make it anew even where it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.seed >= 0, "seed", self.seed, "0 or more")
