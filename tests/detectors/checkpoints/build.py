"""Checkpoints made for tests, and how they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.detectors.fuzz_checkpoints import TINY, archive, text
from vision_lora.detectors.load import load_base
from vision_lora.errors import CheckpointError

# isort: split
from ultralytics.nn.tasks import DetectionModel


def small(**attributes: Any) -> Any:
    """A network of few layers, with attributes that it was not made with."""
    network = DetectionModel(dict(TINY), verbose=False).eval()
    for name, value in attributes.items():
        network.__dict__[name] = value
    return network


def saved(tmp_path: Path, **content: Any) -> Path:
    torch.save(content, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def pickled(tmp_path: Path, model: bytes) -> Path:
    """A file whose `model` is what these instructions leave."""
    (tmp_path / "a.pt").write_bytes(archive(b"\x80\x02}" + text("model") + model + b"s.", {"data/0": bytes(16)}))
    return tmp_path / "a.pt"


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_base(str(path))
    assert "\n" not in str(caught.value)
