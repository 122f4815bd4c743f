"""What tests of the Python interface share: pictures with something in them, and an adapter for the starter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vision_lora.adapters.file import save_adapter
from vision_lora.datasets.leaves import dead_leaves
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import new_adapter

SIDE = 64  # pixels, of the square that the adapter was made for


def drawn(seed: int) -> NDArray[np.uint8]:
    """A picture in which the starter finds things at a threshold of 0.01, (80, 96, 3) RGB."""
    return dead_leaves(96, np.random.default_rng(seed))[:80]


def folder(path: Path, count: int = 3) -> Path:
    """Drawn pictures in a folder, and one in a folder below."""
    for index in range(count):
        file = path / ("below" if index == 1 else "") / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(index)).save(file)
    return path


def adapter(path: Path) -> Path:
    """An adapter for the starter, with numbers as if it had learned something."""
    made = new_adapter(load_base("starter"), ["scratch", "dent"], imgsz=SIDE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for rows in made.class_rows.values():
            rows.bias.fill_(-3)
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    save_adapter(made, path)
    return path
