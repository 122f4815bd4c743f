"""What tests share."""

from __future__ import annotations

import os
import shutil
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


@pytest.fixture(scope="session")
def few(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small copy of NEU-DET: 24 pictures to train, 12 to validate, 6 to test."""
    source, root = shared / "datasets" / "neu-det", tmp_path_factory.mktemp("few")
    for split, count in {"train": 24, "val": 12, "test": 6}.items():
        pictures = sorted((source / "images" / split).iterdir())
        for picture in pictures[:: len(pictures) // count][:count]:
            for kind, name in (("images", picture.name), ("labels", picture.with_suffix(".txt").name)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                shutil.copy(source / kind / split / name, root / kind / split / name)
    shutil.copy(source / "data.yaml", root / "data.yaml")
    return root / "data.yaml"


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
