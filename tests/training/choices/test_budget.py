"""A budget picks layers: by parameters, or by the time of both passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs import options
from vision_lora.adapters.file import load_adapter
from vision_lora.errors import ConfigError
from vision_lora.options.capacity import Budget
from vision_lora.train import main as train


def test_parameters_stay_within_the_share(shared: Path, few: Path, tmp_path: Path) -> None:
    adapted = {}
    for budget in ("2%", "6%"):
        out = tmp_path / budget
        assert train(options(shared, few, out, epochs=1, budget=budget)) == 0
        summary = json.loads((out / "summary.json").read_text())
        limit = Budget.parse(budget).limit * summary["total_parameters"]
        assert 0.8 * limit < summary["trainable_parameters"] <= limit
        adapted[budget] = set(load_adapter(out / "adapter.safetensors").deltas)
    assert len(adapted["2%"]) < len(adapted["6%"])


def test_time_leaves_a_trunk_in_front(shared: Path, few: Path, tmp_path: Path) -> None:
    """Layers are adapted from some point of the pass on, and the point is later for a smaller budget."""
    first = {}
    for budget in ("1.8x", "1.3x"):
        out = tmp_path / budget
        assert train(options(shared, few, out, epochs=1, budget=budget)) == 0
        layers = [int(site.split(".")[1]) for site in load_adapter(out / "adapter.safetensors").deltas]
        first[budget] = min(layers)
        assert max(layers) == 23
    assert 0 < first["1.8x"] < first["1.3x"]


@pytest.mark.parametrize("text", ["5", "0%", "101%", "1x", "2.5x", "x", "nan%", "fast"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected parameters, such as 5%, or time"):
        Budget.parse(text)


def test_a_budget_without_room_is_told(
    shared: Path, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(options(shared, few, tmp_path / "out", epochs=1, budget="0.001%")) == 2
    assert "--budget 0.001%: not one layer fits; expected more" in capsys.readouterr().err
