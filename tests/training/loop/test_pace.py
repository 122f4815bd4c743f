from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vision_lora.options.command_line import make_console
from vision_lora.train import Terminal
from vision_lora.training.loop import pace as module
from vision_lora.training.loop.pace import Pace


class OneProcess:
    """What `Pace` asks of Fabric."""

    def __init__(self, kind: str) -> None:
        self.device = torch.device(kind)

    def all_reduce(self, value: Tensor) -> Tensor:
        return value


@pytest.mark.parametrize(("kind", "read"), [("cpu", [1, 2, 3, 4, 5]), ("cuda", [2, 4, 5])])
def test_means_are_read_each_step_on_the_cpu_and_now_and_then_on_a_gpu(
    kind: str, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 2)
    pace = Pace(OneProcess(kind))  # type: ignore[arg-type]
    losses = torch.zeros(2)  # one tensor that each step overwrites, as a graph's
    seen = {}
    for step in range(1, 6):
        losses.copy_(torch.tensor([step, 10.0 * step]))
        means = pace.stepped(("box", "cls"), losses, 4, last=step == 5)
        if means is not None:
            seen[step] = means
    assert list(seen) == read
    for step, means in seen.items():
        assert means == pytest.approx({"box": (step + 1) / 2, "cls": 5.0 * (step + 1)})
    assert len(pace.seconds) == 5


def test_waiting_for_pictures_is_no_part_of_a_step_and_is_told() -> None:
    def slow() -> Iterator[int]:
        for index in range(3):
            time.sleep(0.05)
            yield index

    pace = Pace(OneProcess("cpu"))  # type: ignore[arg-type]
    for index in pace.waiting_for(slow()):
        pace.stepped(("box",), torch.ones(1), 2, last=index == 2)
    assert max(pace.seconds) < 0.05
    assert pace.speed["loading"] > 0.5
    assert pace.speed["images_per_second"] < 6 / 0.15


@pytest.mark.parametrize(("loading", "told"), [(0.9, True), (0.1, False)])
def test_a_run_that_waits_for_pictures_says_so(loading: float, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(make_console())
    terminal.stepped(1, 1, 1, {"box": 1.0, "images_per_second": 5.0, "loading": loading})
    row = {"epoch": 1, "lr": 0.1, "box": 1.0, "map50_95": 0.2, "map50": 0.4, "images_per_second": 5.0}
    terminal.validated(row, best=True)
    assert ("loading is the limit: --workers" in capsys.readouterr().out) is told
