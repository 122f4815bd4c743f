"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the public datasets and weights: VISION_LORA_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("VISION_LORA_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set VISION_LORA_SHARED")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One CPU thread for a while: sums are then added up in the same order in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _threads_of_the_machine() -> Iterator[None]:
    """A verb that sets the number of threads must not change it for the tests after it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
