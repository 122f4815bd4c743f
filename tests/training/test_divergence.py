"""Training that does not run away: a weak base, few pictures, a high learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from vision_lora.options.train import TrainConfig
from vision_lora.training.loop.listener import Listener
from vision_lora.training.session import train

STEPS = 70  # two epochs: past the end of the warm-up, where the rate is highest


class EnoughError(Exception):
    """The run has shown what it had to."""


class Watch(Listener):
    """Keeps the first epochs' mean losses, then ends the run."""

    def __init__(self) -> None:
        self.steps = 0
        self.means: dict[str, float] = {}

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        """Stop in the third epoch."""
        self.steps += 1
        self.means = dict(row)
        if self.steps == STEPS:
            raise EnoughError

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:
        """Nothing."""


def test_the_factors_do_not_run_away(tmp_path: Path) -> None:
    """At three times the default rate: where A learns as fast as B, their product grows without end."""
    watch = Watch()
    config = TrainConfig(
        data="data/demo/defects.yaml", imgsz=160, lr=0.012, workers=0, device="cpu", out=str(tmp_path / "run")
    )
    with pytest.raises(EnoughError):
        train(config, watch)
    assert all(watch.means[name] < 8 for name in ("box", "cls", "dfl")), watch.means
