"""CUDA graphs of training steps: the numbers of the plain loop, whatever is trained and whatever comes between."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.datasets.build import yolo
from vision_lora.benchmarks.gpu import gpu_rows
from vision_lora.benchmarks.steps import adapted, full, training_step
from vision_lora.datasets.batches.noise import noise_batch
from vision_lora.train import main as train


@pytest.mark.parametrize("model", ["yolo11n.yaml", "yolov8n.yaml", "yolo26n.yaml", "yolov10n.yaml"])
@pytest.mark.parametrize("method", ["lora", "dora", "lora-fa", "ssf", "full"])
def test_fifty_steps_are_those_of_the_plain_loop(model: str, method: str) -> None:
    images, targets = noise_batch(128, 4, 6, 0)
    losses = {}
    for way in ("plain", "graph"):
        torch.manual_seed(0)
        detector, learned = full(model) if method == "full" else adapted(model, 8, method)
        detector.to("cuda")
        learned.to("cuda")
        step = training_step(detector, learned, images, targets, "fp32", device="cuda", way=way)
        losses[way] = torch.stack([step().clone() for _ in range(50)]).cpu()
    assert torch.allclose(losses["graph"][0], losses["plain"][0], rtol=1e-4)
    # BatchNorm's own statistics blow up the order in which full fine-tuning adds up.
    rtol = 5e-2 if method == "full" else 1e-3
    assert torch.allclose(losses["graph"].mean(0), losses["plain"].mean(0), rtol=rtol)


def run(folder: Path, *words: str) -> tuple[dict[str, object], list[dict[str, str]]]:
    data = yolo(folder / "data", [f"{i % 3} 0.5 0.5 0.{i % 5 + 2} 0.5\n" for i in range(11)])
    out = folder / "run"
    options = ["--data", str(data), "--imgsz", "96", "--draws", "0", "--batch", "4", "--workers", "0", "--epochs", "3"]
    assert train([*options, "--placement", "all", "--out", str(out), "--exist-ok", "--device", "cuda", *words]) == 0
    with (out / "results.csv").open() as file:
        return json.loads((out / "summary.json").read_text()), list(csv.DictReader(file))


@pytest.mark.parametrize(
    "words",
    [(), ("--grow", "0.4"), ("--joint",), ("--method", "full"), ("--variant", "lora-fa"), ("--precision", "fp32")],
    ids=" ".join,
)
def test_a_run_with_graphs_is_one_without(words: tuple[str, ...], tmp_path: Path) -> None:
    """The last batch of an epoch is smaller, pictures grow, a teacher looks on, and val comes between."""
    summary, rows = run(tmp_path / "graphs", *words)
    plain_summary, plain_rows = run(tmp_path / "plain", "--graphs", "off", *words)
    assert summary["graphs"] is True
    assert plain_summary["graphs"] == "off"
    for row, plain in zip(rows, plain_rows, strict=True):
        for name in ("box", "cls"):
            assert float(row[name]) == pytest.approx(float(plain[name]), rel=0.05)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--precision", "fp16"), "fp16 scales its losses by what it has seen"),
        (("--norm", "live"), "live BatchNorm would take the passes before a capture into its statistics"),
    ],
)
def test_what_cannot_be_captured_is_named_and_runs(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    summary, _ = run(tmp_path, *words)
    assert summary["graphs"] == told


@pytest.fixture
def _little_memory() -> Iterator[None]:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.015)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("graphs", ["auto", "off"])
def test_a_batch_that_does_not_fit_is_told(graphs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = yolo(tmp_path, [f"{i % 3} 0.5 0.5 0.3 0.5\n" for i in range(8)])
    words = ["--data", str(data), "--imgsz", "640", "--batch", "64", "--draws", "64", "--out", str(tmp_path / "run")]
    assert train([*words, "--device", "cuda", "--workers", "0", "--graphs", graphs]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "the device's memory is full with 64 pictures of 640 px a step; try --batch 32" in err


def test_a_graph_and_an_adapter_are_what_makes_a_step_fast() -> None:
    rows = {
        (row.method, row.way): row
        for row in gpu_rows("yolo11n.yaml", imgsz=320, batch=16, rank=8, dtype="bf16", repeats=5)
    }
    assert rows["lora", "graph"].by_full < 0.5
    assert rows["lora", "graph"].by_full_graph < 0.95
    assert rows["lora", "graph"].memory_by_full < 1
