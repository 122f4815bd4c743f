"""A folder with all that the pages speak of, so that their commands and their Python run as they stand there.

What takes hours there takes seconds here for three reasons, all below: pictures are few and small, `yolo11n.pt` is the
base that ships with the package (of the same architecture), and verbs get the options of `SMALLER` behind their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.api.build import adapter, drawn
from vision_lora.detectors.load import load_base
from vision_lora.training import session

# By verb: options that are put behind those of the page, where they win.
SMALLER: Mapping[str, str] = {
    "train": "--epochs 1 --imgsz 64 --draws 0 --workers 0 --device cpu --threads 1",
    "evaluate": "--imgsz 64 --device cpu --threads 1",
    "retention": "--imgsz 64 --device cpu",
    "predict": "--imgsz 64 --device cpu --threads 1",
    "propose": "--imgsz 64 --device cpu",
    "compare": "--methods lora:placement=head --seeds 0 --lrs 0.001 --epochs 1 --imgsz 64 --draws 0 --workers 0 "
    "--device cpu",
    "check": "--imgsz 64",
    "export": "--imgsz 64",
    "inspect": "",
    "models": "",
}


def build(root: Path) -> Path:
    """Make the folder."""
    for index in range(2):
        _write(root / "pictures" / f"{index}.png", drawn(index))
        _write(root / "photographs" / f"{index}.png", drawn(index))
        _write(root / "collected" / f"{index}.png", drawn(index))
    for line in ("line1", "line2"):
        _write(root / line / "1.png", drawn(0))
    (root / "recipe.yaml").write_text("data: defects.yaml\nepochs: 40\n")
    load_base("starter").save_checkpoint(root / "yolo11n.pt")
    first = adapter(root / "line3.safetensors")
    for name in ("line1.safetensors", "line2.safetensors", "runs/train/adapter.safetensors"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, root / name)
    dataset(root, "data.yaml", ["scratch", "dent"])
    dataset(root, "defects.yaml", ["scratch", "dent"])
    dataset(root / "data" / "demo", "defects.yaml", ["scratch", "dent"])
    general = list(load_base("starter").names)
    for name in ("coco.yaml", "coco128/data.yaml"):
        dataset((root / name).parent, Path(name).name, general)
    return root


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut training from Python to a few steps, as `SMALLER` does for verbs; viewers stay closed."""
    train = session.train

    def shortened(config: Any, audience: Any) -> Any:
        return train(replace(config, epochs=2, draws=0, imgsz=64, batch=4, workers=0, device="cpu"), audience)

    monkeypatch.setattr(session, "train", shortened)
    monkeypatch.setattr(Image.Image, "show", lambda image, title=None: None)


def dataset(root: Path, name: str, names: list[str]) -> None:
    """Squares on grey, with labels in YOLO form."""
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        for index in range(count):
            noise = np.random.default_rng(index * 3 + len(split)).integers(90, 150, (64, 64, 3), dtype=np.uint8)
            noise[16 + index : 40, 16:48] = (220, 40, 40)
            _write(root / "images" / split / f"{split}{index}.png", noise)
            label = root / "labels" / split / f"{split}{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{index % 2} 0.5 {(56 + index) / 128} 0.5 {(24 - index) / 64}\n")
    places = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
    (root / name).write_text(f"path: .\n{places}names: [{', '.join(names)}]\n")


def _write(file: Path, picture: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file)
