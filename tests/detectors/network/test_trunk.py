"""Both passes share the trunk: the same outputs, to the bit, for less work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vision_lora.detectors.base import Detector
from vision_lora.detectors.network.trunk import Trunk
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector


class Counted(nn.Module):
    """Counts its calls; may write into its input, as some activations do."""

    def __init__(self, work: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.work = work
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.work(x)


def test_parts_before_the_first_adapted_layer_run_once() -> None:
    before, between, behind = (Counted(lambda x: x + 1) for _ in range(3))
    adapted = nn.Linear(2, 2)
    network = nn.Sequential(before, nn.Sequential(between, adapted), behind)
    trunk, x = Trunk(network, [adapted]), torch.zeros(1, 2)
    for turn in (1, 2):  # the first finds out which parts are the trunk
        with torch.no_grad(), trunk.shared():
            assert torch.equal(network(x), network(x))
        assert (before.calls, between.calls, behind.calls) == (turn, turn, 2 * turn)
    with torch.no_grad(), trunk.shared():
        network(x)
        network(x + 1)
    assert before.calls == 4
    network(x)
    assert before.calls == 5
    assert "forward" not in before.__dict__


def test_a_result_changed_in_place_is_computed_anew() -> None:
    first, second, adapted = Counted(lambda x: x + 1), Counted(lambda x: x.mul_(2)), nn.Linear(2, 2)
    network = nn.Sequential(nn.Sequential(first, second, adapted))
    with torch.no_grad(), Trunk(network, [adapted]).shared():
        assert torch.equal(network(torch.zeros(1, 2)), network(torch.zeros(1, 2)))
        x = torch.zeros(1, 2)
        assert torch.equal(network(x), network(x))


def detector(placement: str) -> Detector:
    torch.manual_seed(0)
    found = YoloDetector.load("yolo11n.yaml")
    adapter = new_adapter(found, ["a", "b"], placement=placement)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    found.attach(adapter)
    return found


@pytest.mark.parametrize(("placement", "shared"), [("all", {0}), ("neck", {0, 5, 10}), ("head", {0, 11, 12, 22})])
def test_both_modes_together_are_the_two_alone(placement: str, shared: set[int]) -> None:
    """`both` gives what `general` and `defects` give, bit by bit, while each shared layer runs once."""
    yolo = detector(placement)
    calls: dict[int, int] = {}
    for index, layer in enumerate(yolo.network.model):  # type: ignore[arg-type]
        plain = layer.forward

        def counted(*args: object, index: int = index, plain: Callable[..., object] = plain) -> object:
            calls[index] = calls.get(index, 0) + 1
            return plain(*args)

        layer.forward = counted
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    kept = [yolo.detect(images, mode=mode) for mode in ("general", "defects")]  # type: ignore[arg-type]
    for _ in range(2):
        calls.clear()
        both = yolo.detect(images, mode="both")
        assert {index for index in shared | {23} if calls[index] == 1} == shared
        for index, found in enumerate(both):
            for source, alone in zip(("general", "defects"), kept, strict=True):
                part = found.of(source)  # type: ignore[arg-type]
                for name in ("boxes", "scores", "classes"):
                    assert (getattr(part, name) == getattr(alone[index], name)).all()
