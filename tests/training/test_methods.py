"""What a run trains: made once, as the plan says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.detectors.build import make
from vision_lora.adapters.plan import Plan, make_plan
from vision_lora.detectors import new_adapter
from vision_lora.detectors.base import Detector
from vision_lora.options.train import TrainConfig
from vision_lora.training.methods import recipe_adapter

CONFIG = TrainConfig(data="d", rank=2, imgsz=64, placement="head")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make("yolo11n.yaml")


def test_the_plan_is_made_once(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Plan] = []

    def counted(*args: Any, **options: Any) -> Plan:
        made.append(make_plan(*args, **options))
        return made[-1]

    monkeypatch.setattr(new_adapter, "make_plan", counted)
    adapter, plan = recipe_adapter(CONFIG, detector, ["scratch", "dent"])
    assert made == [plan]
    assert sum(adapter.parameter_count().values()) == plan.parameters


def test_an_adapter_follows_the_plan_that_it_is_given(detector: Detector) -> None:
    plan = new_adapter.plan_adapter(detector, 2, rank=2, placement="head")
    dropped = next(entry for entry in plan.adapted if entry.rank)
    rest = tuple(entry for entry in plan.entries if entry is not dropped)
    adapter = new_adapter.planned_adapter(detector, ["scratch", "dent"], replace(plan, entries=rest), imgsz=64)
    assert adapter.deltas.keys() == {entry.site for entry in plan.adapted} - {dropped.site}
    assert adapter.card.alpha == pytest.approx(16 * (2 / 8) ** 0.5)  # at rank 2


@pytest.mark.parametrize(("variant", "alpha"), [("lora", 8.0), ("rslora", 5.7), ("lora-fa", 8.0), ("ssf", 1.0)])
def test_alpha_is_the_variants_own_where_none_is_given(detector: Detector, variant: str, alpha: float) -> None:
    config = replace(CONFIG, variant=variant)
    assert recipe_adapter(config, detector, ["scratch"])[0].card.alpha == pytest.approx(alpha, abs=0.05)
    assert recipe_adapter(replace(config, alpha=3.0), detector, ["scratch"])[0].card.alpha == 3
