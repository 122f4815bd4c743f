"""What tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the public datasets and weights: VISION_LORA_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("VISION_LORA_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set VISION_LORA_SHARED")
    return folder
