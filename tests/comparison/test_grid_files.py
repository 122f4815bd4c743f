"""The grids in configs/compare: each is a comparison that could start."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vision_lora.comparison.methods import parse_lrs, parse_methods
from vision_lora.options.command_line import parse
from vision_lora.options.compare import CompareConfig

ROOT = Path(__file__).parents[2]
GRIDS = sorted((ROOT / "configs" / "compare").rglob("*.yaml"))


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_a_grid_is_read_and_its_methods_are_known(file: Path) -> None:
    if "peft" in file.stem and importlib.util.find_spec("peft") is None:
        pytest.skip("peft is not installed")
    config = parse(CompareConfig, "compare", ["--config", str(file)])
    assert parse_methods(config.methods, parse_lrs(config.lrs, "lrs"))
    assert f"--config {file.relative_to(ROOT)}\n" in file.read_text(encoding="utf-8"), "says how to run it"
    assert config.out.startswith("runs/compare/")


def test_no_two_grids_write_into_the_same_folder() -> None:
    outs = [parse(CompareConfig, "compare", ["--config", str(file)]).out for file in GRIDS]
    assert len(set(outs)) == len(outs)
