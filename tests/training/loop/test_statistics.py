"""Runs with live BatchNorm: resumed to the bit, one run in several processes, refused where they make no sense."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from vision_lora.adapters.file import load_adapter
from vision_lora.detectors.load import load_base
from vision_lora.errors import ConfigError

ROOT = Path(__file__).parents[2]

AVERAGE = """
import sys, torch
from torch import distributed as dist, nn
from vision_lora.adapters.weights.live import FoldedNorm, LiveNorm
from vision_lora.training.loop.statistics import average_statistics
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
values = torch.tensor([1.0, 3.0])
norm = LiveNorm(FoldedNorm(values, values, values * (rank + 1), values * (2 * rank + 1), values, 1e-5))
frozen = nn.BatchNorm2d(2)
frozen.running_mean.fill_(rank)
average_statistics(nn.ModuleList([norm, frozen]))
print(*norm.mean.tolist(), *norm.var.tolist(), *frozen.running_mean.tolist())
"""


pytestmark = pytest.mark.usefixtures("without_plots")


class Killed(BaseException):
    """Ends a run without its having a say."""


def test_a_resumed_run_is_the_uninterrupted_one_and_the_base_stays(tmp_path: Path) -> None:
    def end(epoch: int, _: int) -> None:
        if epoch == 2:
            raise Killed

    dataset = tiny.data(tmp_path / "data")
    whole = tiny.run(tiny.options(dataset, tmp_path / "whole", norm="live", epochs=2))
    with pytest.raises(Killed):
        tiny.run(tiny.options(dataset, tmp_path / "cut", norm="live", epochs=2), tiny.Watch(end))
    tiny.resume(tmp_path / "cut")
    assert tiny.same(tmp_path / "whole", tmp_path / "cut")

    adapter = load_adapter(whole.result)
    detector = load_base("starter")
    assert whole.base_fingerprint == detector.fingerprint == adapter.card.fingerprint
    # Statistics of eight drawn pictures are not those of the base's photographs: they are in the file's scales, which
    # six steps at this rate alone could not move so far.
    frozen = tiny.run(tiny.options(dataset, tmp_path / "frozen", epochs=2))
    moved, kept = (
        torch.cat([d.gain for d in load_adapter(run.result).deltas.values() if hasattr(d, "gain")]).abs().max()
        for run in (whole, frozen)
    )
    assert moved > 2 * kept


def test_a_warm_start_goes_on_from_the_file(tmp_path: Path) -> None:
    dataset = tiny.data(tmp_path / "data")
    first = tiny.run(tiny.options(dataset, tmp_path / "first", norm="live", epochs=1))
    second = tiny.run(tiny.options(dataset, tmp_path / "second", norm="live", epochs=1, grow=0.5, on=str(first.result)))
    before, after = (load_adapter(run.result) for run in (first, second))
    assert before.deltas.keys() == after.deltas.keys()
    assert not all(torch.equal(before.state_dict()[name], value) for name, value in after.state_dict().items())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"joint": True}, "frozen with --joint"),
        ({"variant": "lora-fa"}, "frozen with --variant lora-fa"),
        ({"method": "full"}, "--method lora"),
    ],
)
def test_what_makes_no_sense_is_refused(more: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--norm live: expected {told}"):
        tiny.options(tmp_path, tmp_path / "out", norm="live", **more)


def test_a_base_without_batchnorm_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_lora.detectors.base.Detector.norms", property(lambda _: {}, lambda *_: None))
    with pytest.raises(ConfigError, match="--norm live: no adapted layer of starter"):
        tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "out", norm="live"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_statistics_are_the_means_over_processes(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", AVERAGE, str(rank), str(tmp_path / "meeting")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=120)[0].split() for process in running]
    assert told == [["1.5", "4.5", "2.0", "6.0", rank, rank] for rank in ("0.0", "1.0")]
