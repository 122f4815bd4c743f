"""Options of the verbs beside training and detecting: `check`, `export`, `inspect`, `models`, `demo`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vision_lora.options import common
from vision_lora.options.common import Variant
from vision_lora.options.detect import Using
from vision_lora.options.option import Options, demand, option
from vision_lora.options.placement import Placement

ExportFormat = Literal["pt", "onnx", "openvino"]


@dataclass(frozen=True)
class CheckConfig(Options):
    """Look for flaws in a dataset before they spoil a training run; exit code 1 where one would."""

    data: str = option("", f"{common.DATA} or VOC files", required=common.A_DATASET)
    imgsz: int = common.side(640, "side at which it will be trained: decides which boxes are too small", "what")
    seed: int = common.seed("seed of the proposed split", "what")
    strict: bool = option(False, "stop at the first broken label or picture instead of listing all")
    adapter: str | None = option(
        None, "adapter that was trained on such data, best on other pictures: labels that it doubts are listed"
    )
    model: str | None = option(None, f"{common.BASE}; default: the base that the adapter names")
    device: str = option("auto", common.DEVICE, "speed")
    fix: str | None = option(None, "new folder for a cleaned copy in YOLO form; the source is never touched", "output")
    html: str | None = option(None, "file for the report as a page with pictures and plots", "output")
    json: str | None = option(None, "file for the report as JSON, with every place and the proposed split", "output")
    preview: str | None = option(
        None, "no check, but a .png of what the augmentation recipe does to these pictures", "output"
    )
    augment: str = option(
        "surface", "recipe that --preview shows: surface, conveyor, none, or a YAML file's path", "output"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        beside = [f"--{name}" for name in ("adapter", "fix", "html", "json") if getattr(self, name) is not None]
        if self.preview is not None:
            demand(
                not beside, "preview", self.preview, f"it alone, as it checks nothing: {' '.join(beside)} needs a check"
            )
        demand(self.model is None or self.adapter is not None, "model", self.model, "--adapter FILE beside it")


@dataclass(frozen=True)
class ExportConfig(Using):
    """Write one plain network for deployment: the base with the adapter merged into it."""

    format: ExportFormat = option(
        "onnx", "pt opens in ultralytics.YOLO; onnx is one file; openvino is .xml and .bin", "output"
    )
    out: str = option("", "file to write, with the format's own ending: .pt, .onnx, .xml (required)", "output")
    exist_ok: bool = option(False, "replace the file where it exists", "output")

    def __post_init__(self) -> None:
        super().__post_init__()
        ending = {"pt": ".pt", "onnx": ".onnx", "openvino": ".xml"}[self.format]
        demand(self.out.endswith(ending), "out", self.out or "(nothing)", f"a file that ends in {ending}")


@dataclass(frozen=True)
class InspectConfig(Options):
    """Look into an adapter file: what it learned, how much it changes each layer, and whether it fits a base."""

    file: str = option(
        "", "adapter file", required="an adapter: vision-lora inspect adapter.safetensors", positional=True
    )
    model: str | None = option(
        None, "base to hold it against: starter, an official name or a path; adds each change's relative size"
    )


@dataclass(frozen=True)
class ModelsConfig(Options):
    """List the detectors that can be loaded, with their size and what an adapter changes in them."""

    model: str | None = option(None, "one of them, for its layers: which are adapted, how, and why not the others")
    rank: int = option(8, "rank of the low-rank factors", "adapter", at_least=1)
    variant: Variant = option("lora", "kind of adapter", "adapter")
    placement: Placement = option("all", common.PLACED, "adapter")


@dataclass(frozen=True)
class DemoConfig(Options):
    """Make demo data: 240 synthetic factory pictures with boxes around their defects, and a conveyor video."""

    out: str = option("data/demo", "folder for it; what was made there before with the same seed stays", "output")
    seed: int = common.seed("seed of everything: the same seed gives the same bytes on every machine", "what")
    test: int | None = option(
        None, "test pictures, more to tell methods apart by; default: 40", "what", at_least=1, at_most=10_000
    )
    exist_ok: bool = option(False, "make it anew even where it exists", "output")
