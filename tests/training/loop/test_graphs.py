"""What of graphs can be shown without a GPU: where they are not used, and what happens when a capture fails."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from tests.detectors.build import make
from vision_lora.detectors.base import Detector
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.system.devices import make_fabric
from vision_lora.training.loop.flat import Flat
from vision_lora.training.loop.graphs import Eager, Graphed, obstacle


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([2.0]))

    def forward(self, images: Tensor, *, present: bool = True) -> dict[str, Tensor]:
        return {"box": (self.factor * images).square().mean(), "cls": self.factor.sum()}


def test_a_capture_that_fails_is_told_once_and_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, fabric = Square(), make_fabric("cpu", "fp32")
    flat = Flat([{"params": list(module.parameters())}])
    graphed = Graphed(module, flat, module, fabric, Eager(module, fabric))

    def failing(inputs: tuple[Tensor, ...]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphed, "_capture", failing)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            names, losses = graphed(torch.ones(3))
            assert names == ("box", "cls")
            assert losses.tolist() == [4, 2]
            assert module.factor.grad is not None
            assert module.factor.grad.item() == 5  # 2 · factor · 1 + 1
            flat.zero_grad()
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA graph of a step (operation not permitted when stream is capturing); training goes on without, more "
        "slowly"
    ]


def test_memory_that_is_full_while_capturing_is_not_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    module, fabric = Square(), make_fabric("cpu", "fp32")
    graphed = Graphed(module, Flat([]), module, fabric, Eager(module, fabric))

    def full(inputs: tuple[Tensor, ...]) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graphed, "_capture", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        graphed(torch.ones(3))


def test_the_cpu_has_no_graphs() -> None:
    assert obstacle(make("yolo11n.yaml"), make_fabric("cpu", "fp32")) == "only a CUDA GPU has graphs"


@pytest.mark.parametrize("name", ["rtdetr", "torchvision:retinanet"])
def test_families_without_are_named_with_the_reason(name: str) -> None:
    detector = make(name)

    class OnGpu:
        device = torch.device("cuda")
        world_size = 1
        _precision = None

    told = obstacle(detector, OnGpu())  # type: ignore[arg-type]
    assert told == f"{detector.family}: {Detector.uncapturable}"
    captured = make("yolo11n.yaml")
    assert obstacle(captured, OnGpu()) == ""  # type: ignore[arg-type]
    adapter = new_adapter(captured, ["dent"], rank=1)
    captured.attach(adapter)
    assert obstacle(captured, OnGpu()) == ""  # type: ignore[arg-type]
    assert adapter.thaw(captured.norms)
    assert "live BatchNorm" in obstacle(captured, OnGpu())  # type: ignore[arg-type]
