"""The card in the adapter file is replaced, and read with and without thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.adapters import build
from tests.adapters.test_file import metadata, rewrite
from vision_lora.adapters.file import KEY, load_adapter, save_adapter, save_card


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    save_adapter(build.adapter(build.network()), path)
    return path


def test_a_new_card_leaves_the_tensors_as_they_are(file: Path) -> None:
    """Also half-precision ones; a reader that knows nothing of thresholds takes the file: its format is the same."""
    adapter = load_adapter(file)
    save_adapter(adapter, file, dtype=torch.float16)
    before = load_file(file)
    name = adapter.card.names[0]
    save_card(replace(adapter.card, thresholds={name: 0.125}, rule="f1 on val"), file)
    after = load_file(file)
    assert before.keys() == after.keys()
    assert all(after[key].dtype == torch.float16 and torch.equal(before[key], after[key]) for key in before)
    card = load_adapter(file).card
    assert (card.thresholds, card.rule) == ({name: 0.125}, "f1 on val")
    header = json.loads(metadata(file)[KEY])
    assert header["format"] == 1
    assert header["card"].keys() - {"thresholds", "rule"} == {
        "family", "base", "fingerprint", "names", "alpha", "imgsz", "metrics", "created", "version",
    }  # fmt: skip


def test_a_file_without_thresholds_is_read(file: Path) -> None:
    def older(header: dict[str, Any]) -> None:
        del header["card"]["thresholds"], header["card"]["rule"]

    rewrite(file, header=older)
    assert (load_adapter(file).card.thresholds, load_adapter(file).card.rule) == ({}, "")
