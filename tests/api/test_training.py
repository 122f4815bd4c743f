"""`fit`: the options of `train`, and what it gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.api.build import adapter
from vision_lora import Trained, VisionLoraError, fit
from vision_lora.evaluation.coco_map import ClassResult, MapResult
from vision_lora.options.train import TrainConfig
from vision_lora.training import session

SCORES = MapResult(0.5, 0.6, 0.7, None, 0.2, 0.3, {"scratch": ClassResult(0.5, 0.6, 3, 2)})
ROW = {"epoch": 1.0, "map50_95": 0.5, "map50": 0.6}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TrainConfig]:
    """Options that sessions were started with; none of them trains."""
    configs: list[TrainConfig] = []

    def train(config: TrainConfig, audience: session.Listener) -> Any:
        configs.append(config)
        audience.stepped(1, 1, 1, {"box": 1.0})
        audience.validated(ROW, best=True)
        values = {**SCORES.to_json(), "best_epoch": 1, "method": config.method}
        return session.Summary(tmp_path, tmp_path / "line3.safetensors", config.model, values)

    monkeypatch.setattr(session, "train", train)
    return configs


def test_it_takes_the_options_of_the_verb_by_name() -> None:
    given = inspect.signature(fit).parameters
    assert list(given) == [item.name for item in fields(TrainConfig)] + ["on_epoch"]
    assert all(given[item.name].default == item.default for item in fields(TrainConfig))


def test_options_arrive_and_results_come_back(asked: list[TrainConfig], tmp_path: Path) -> None:
    adapter(tmp_path / "line3.safetensors")
    rows: list[Mapping[str, float]] = []
    run = fit(data=tmp_path / "defects.yaml", epochs=3, warmup=2, balanced=True, on_epoch=rows.append)
    assert type(asked[0]) is TrainConfig
    assert asked[0] == TrainConfig(data=str(tmp_path / "defects.yaml"), epochs=3, warmup=2, balanced=True)
    assert rows == [ROW]
    assert isinstance(run, Trained)
    assert (run.val, run.folder, run.model, run.best_epoch) == (SCORES, tmp_path, "starter", 1)
    assert run.detector(device="cpu").defect_classes == ("scratch", "dent")


def test_a_mistake_in_a_callback_is_not_hidden(asked: list[TrainConfig]) -> None:
    with pytest.raises(KeyError, match="loss"):
        fit(data="defects.yaml", on_epoch=lambda row: row["loss"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"--data \(nothing\): expected the path of a dataset"),
        ({"data": "d", "epochs": 0}, "--epochs 0: expected 1 or more"),
        ({"data": "d", "epochs": "5"}, "--epochs 5: expected a whole number"),
        ({"data": "d", "epochs": 1.5}, "--epochs 1.5: expected a whole number"),
        ({"data": "d", "epochs": True}, "--epochs True: expected a whole number"),
        ({"data": "d", "balanced": 1}, "--balanced 1: expected True or False"),
        ({"data": "d", "lr": "fast"}, "--lr fast: expected a number"),
        ({"data": "d", "method": "magic"}, "--method magic: expected one of lora, full, freeze, head"),
        ({"data": "d", "placement": "tail"}, "--placement tail: expected one of all, deep, neck, head"),
        ({"data": 3}, "--data 3: expected text"),
        ({"data": None}, "--data None: expected text"),
    ],
)
def test_mistakes_are_one_line(asked: list[TrainConfig], given: dict[str, Any], message: str) -> None:
    with pytest.raises(VisionLoraError, match=message):
        fit(**given)
    assert not asked


def test_an_option_that_is_none_is_pythons_own_mistake() -> None:
    with pytest.raises(TypeError, match="epoch"):
        fit(data="d", epoch=3)  # type: ignore[call-arg]
