"""What can be loaded, listed."""

from __future__ import annotations

import pytest

from vision_lora.adapters.plan import Plan
from vision_lora.detectors import load
from vision_lora.detectors.base import Detector, Model
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import plan_adapter
from vision_lora.models import main


def test_lists_every_family_with_the_numbers_of_its_smallest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [model for model in load.models() if model.name in ("starter", "yolov8n.pt") or model.build is None]
    monkeypatch.setattr(load, "models", lambda: iter(listed))
    assert main([]) == 0
    heading, *lines, _ = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["--model", "parameters", "layers"]
    rows = {line.split()[0]: line.split() for line in lines}
    detector = load_base("starter")
    total = sum(parameter.numel() for parameter in detector.network.parameters())
    plan = plan_adapter(detector, 1)
    assert rows["starter"][1:6] == [
        f"{total:,}",
        str(len(plan.entries)),
        str(len(plan.adapted)),
        f"{plan.parameters:,}",
        f"{plan.parameters / total:.1%}",
    ]
    assert rows["yolov8n.pt"][6:] == ["n", "s", "m", "l", "x"]
    assert "rt_detr_v2," in rows["hf:OWNER/NAME"]


def test_every_family_is_in_the_list_and_what_is_listed_loads() -> None:
    listed = list(load.models())
    assert len({model.name for model in listed}) == len(listed)
    families = {type(built).family for built in map(_built, listed) if built is not None}
    assert families | {"transformers"} == set(Detector.families)


def test_one_detector_shows_its_layers_and_why_some_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "starter", "--placement", "head"]) == 0
    printed = capsys.readouterr().out
    plan: Plan = plan_adapter(load_base("starter"), 1, placement="head")
    assert printed.strip() == plan.table().strip()
    assert "stem: reads the picture" in printed


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "gone.pt"]) == 2
    assert "or starter, the base that ships with the package" in capsys.readouterr().err


def _built(model: Model) -> Detector | None:
    small = model.name.startswith(("yolo", "rtdetr", "starter")) or model.name == "torchvision:ssd300_vgg16"
    return model.build() if small and model.build is not None else None
