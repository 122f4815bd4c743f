"""--batch auto: what fits, what the recipe allows, and rates that stay what they were to a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.tiny import Watch, data, options, replace, resume, run, same
from vision_lora.datasets.batches.batch import Batch
from vision_lora.errors import ConfigError, TrainingError
from vision_lora.options.train import TrainConfig
from vision_lora.train import main as train
from vision_lora.training import session
from vision_lora.training.choices import batch_size
from vision_lora.training.choices.batch_size import Memory, choose, decide, measured, scaled
from vision_lora.training.choices.batch_size import _noise as noise
from vision_lora.training.job import open_data

GIB = 2**30


pytestmark = pytest.mark.usefixtures("without_plots")


@pytest.mark.parametrize(
    ("free", "drawn", "devices", "batch", "why"),
    [
        (80 * GIB, 10**6, 1, 64, "scaled"),
        (80 * GIB, 1260, 1, 40, "1260 pictures an epoch make 31 steps"),
        (80 * GIB, 500, 1, 16, "500 pictures an epoch make 31 steps"),
        (80 * GIB, 100, 1, 16, "100 pictures an epoch"),  # never below the recipe's for the steps' sake
        (5 * GIB, 10**6, 1, 19, "60% of the 5.0 GiB"),  # (0.6 · 5 - 1) / 0.1, which is 20 less rounding
        (5 * GIB, 10**6, 2, 38, "60% of the 5.0 GiB"),
        (80 * GIB, 1260, 3, 39, "31 steps"),  # as many for each device
        (1 * GIB, 10**6, 4, 4, "60% of the 1.0 GiB"),  # nothing fits into the share: one each is tried
    ],
)
def test_the_largest_batch_that_all_limits_allow(free: int, drawn: int, devices: int, batch: int, why: str) -> None:
    memory = Memory(1.0 * GIB, 0.1001 * GIB)
    choice = choose(memory, free, drawn, devices)
    assert choice.batch == batch
    assert why in choice.why


def test_rates_are_what_they_were_to_a_picture() -> None:
    config = TrainConfig(data="d", batch="auto")
    larger = scaled(config, 36)
    assert (larger.batch, larger.lr) == (36, pytest.approx(0.004 * 1.5))
    assert larger.ema == pytest.approx(0.995 ** (36 / 16))
    assert scaled(replace(config, ema=0), 36).ema == 0
    assert scaled(replace(config, lr=0.01), 4).lr == pytest.approx(0.005)
    same_batch = scaled(config, 16)
    assert (same_batch.peak_lr, same_batch.ema) == (config.peak_lr, config.ema)
    assert (larger.warmup, larger.patience, larger.b_by_a) == (config.warmup, config.patience, config.b_by_a)


def kept_for_backward(work: Callable[[], object]) -> int:
    """A CPU's stand-in for a GPU's peak: bytes that autograd keeps, each storage once."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(kept.values())


@pytest.mark.parametrize("more", [{"joint": True}, {"method": "full"}], ids=str)
def test_two_small_steps_tell_what_a_larger_one_takes(
    more: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = options(data(tmp_path / "data"), tmp_path / "run", batch="auto", placement="all", **more)
    opened = open_data(config)
    memory = measured(opened, kept_for_backward)
    monkeypatch.setattr(batch_size, "COUNTS", (20, 24))
    larger = measured(opened, kept_for_backward)
    assert memory.a_picture > 10**5
    assert memory.bytes(24) == pytest.approx(larger.bytes(24), rel=0.1)


class Gpu:
    """A GPU that holds so many pictures a step, and tells what each step took: 1 GiB and 0.1 GiB a picture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holds: int = 10**9) -> None:
        self.steps: list[int] = []
        self._holds = holds
        monkeypatch.setattr(batch_size, "_noise", self._noise)

    def _noise(self, imgsz: int, count: int, classes: int, boxes: int) -> Batch:
        if count > self._holds:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.steps.append(count)
        return noise(imgsz, count, classes, boxes)

    def peak(self, work: Callable[[], object]) -> int:
        work()
        return int(GIB * (1 + 0.1 * self.steps[-1]))


def decided(tmp_path: Path, gpu: Gpu, free: float, **more: object) -> tuple[TrainConfig, str]:
    opened = open_data(options(data(tmp_path / "data"), tmp_path / "run", **{"draws": 10**4, **more}))
    return decide(opened, torch.device("cpu"), None, peak=gpu.peak, free=int(free * GIB))


def test_a_batch_is_chosen_from_two_steps_and_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    config, line = decided(tmp_path, gpu, 7, batch="auto")
    assert gpu.steps == [4, 4, 12]
    assert config.batch == 32  # (0.6 · 7 - 1) / 0.1
    assert line == (
        "32 pictures a step (60% of the 7.0 GiB that are free), learning rate 0.0057, decay of the average 0.99"
    )


def test_where_the_larger_step_has_no_room_fewer_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = decided(tmp_path, Gpu(monkeypatch, holds=8), 1.9, batch="auto")
    assert config.batch == 3  # 0.6 · 1.9 by 1.4 / 4


@pytest.mark.parametrize("batch", ["auto", 65])
def test_where_no_step_has_room_it_is_told(batch: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=rf"--batch {batch}: not even 4 pictures of 64 px fit .* try --batch 2, "):
        decided(tmp_path, Gpu(monkeypatch, holds=3), 1, batch=batch)


def test_a_given_batch_that_cannot_fit_is_refused_with_one_that_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError) as caught:
        decided(tmp_path, Gpu(monkeypatch), 79, batch=4096)
    assert str(caught.value) == (
        "--batch 4096: a step of so many pictures of 64 px takes about 411 GiB on a device, and 79 are free there; "
        "expected at most 780, or --batch auto, or --variant lora-fa, which needs about half as much"
    )
    assert decided(tmp_path, Gpu(monkeypatch), 79, batch=770)[0].batch == 770
    assert decided(tmp_path, Gpu(monkeypatch), 79, batch=1540, devices=2)[0].batch == 1540


def test_a_batch_that_could_have_been_chosen_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    assert decided(tmp_path, gpu, 1, batch=64)[1] == ""
    assert gpu.steps == []


def test_a_cpu_keeps_the_recipe_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["--data", str(data(tmp_path / "data")), "--out", str(out), "--device", "cpu", "--imgsz", "64"]
    assert train([*words, "--batch", "auto", "--epochs", "1", "--draws", "0", "--workers", "0", "--rank", "2"]) == 0
    told = "batch    16 pictures a step (the recipe's: only of a CUDA GPU it is known what fits), learning rate 0.004"
    assert told in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["batch"], summary["lr"], summary["ema"]) == (16, 0.004, 0.995)
    assert json.loads((out / "config.json").read_text())["batch"] == "auto"


def test_a_run_goes_on_with_the_batch_that_it_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where other programs have taken the device's memory meanwhile."""
    dataset = data(tmp_path / "data")
    gpu = Gpu(monkeypatch)
    monkeypatch.setattr(session, "decide", partial(decide, peak=gpu.peak, free=int(2.84 * GIB)))
    whole = options(dataset, tmp_path / "whole", batch="auto")
    assert run(whole).batch == 7
    assert json.loads((tmp_path / "whole" / "summary.json").read_text())["ema"] == pytest.approx(0.995 ** (7 / 16))

    def end(epoch: int, _: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    cut = replace(whole, out=str(tmp_path / "cut"))
    with pytest.raises(KeyboardInterrupt):
        run(cut, Watch(end))
    steps = len(gpu.steps)
    monkeypatch.setattr(session, "decide", partial(decide, peak=gpu.peak, free=1))
    assert resume(tmp_path / "cut").batch == 7
    assert len(gpu.steps) == steps
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_out_of_memory_in_the_middle_keeps_the_state(tmp_path: Path) -> None:
    dataset = data(tmp_path / "data")
    run(options(dataset, tmp_path / "whole"))

    def full(epoch: int, _: int) -> None:
        if epoch == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    with pytest.raises(TrainingError) as caught:
        run(options(dataset, tmp_path / "cut"), Watch(full))
    assert str(caught.value) == (
        "the device's memory is full with 4 pictures of 64 px a step; try --batch 2, or --variant lora-fa, which needs "
        "about half as much; if another program took the memory, continue without it: python -m vision_lora.train "
        f"--resume {tmp_path / 'cut'}"
    )
    resume(tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")
