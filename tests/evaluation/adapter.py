"""An adapter that knows what stands in a dataset, without any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.build import picture
from vision_lora.adapters.file import save_adapter
from vision_lora.detectors.load import load_detector
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.readout import MEASURE
from vision_lora.pictures.images import read_image

SIDE = 64


def label_what_is_found(root: Path, pictures: int = 4) -> Path:
    """An adapter with random class rows, and pictures of noise whose labels are its best detections."""
    root.mkdir(exist_ok=True)
    base = load_detector("starter", None, "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = new_adapter(base, ["dent", "stain"], imgsz=SIDE)
        for rows in adapter.class_rows.values():
            torch.nn.init.normal_(rows.weight, std=0.3)
    save_adapter(adapter, root / "adapter.safetensors")
    base.attach(adapter)
    for index in range(pictures):
        file = picture(root / "images" / "val" / f"p{index // 2}_{index}.png", (SIDE + index, SIDE))
        image = read_image(file)
        (found,) = base.predict([image], SIDE, mode="defects", readout=MEASURE)
        label = root / "labels" / "val" / f"{file.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        scale = np.array([image.shape[1], image.shape[0]])
        box = found.boxes[0].astype(float)
        cx, cy = (box[:2] + box[2:]) / 2 / scale
        w, h = (box[2:] - box[:2]) / scale
        label.write_text(f"{int(found.classes[0]) - found.general} {cx} {cy} {w} {h}\n")
    (root / "data.yaml").write_text("train: images/val\nval: images/val\nnames: [dent, stain]\n")
    return root
