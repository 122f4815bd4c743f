"""The benchmark measures what it says; no absolute time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vision_lora.benchmark import main


@pytest.fixture(scope="module")
def rows(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    file = tmp_path_factory.mktemp("bench") / "rows.json"
    words = ["--model", str(shared / "weights" / "yolo11n.pt"), "--sizes", "320x4", "--repeats", "1"]
    assert main([*words, "--threads", "1", "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_every_row_has_what_scripts_read(rows: list[dict[str, object]]) -> None:
    for row in rows:
        assert {"method", "dtype", "imgsz", "ms_per_image", "saved_mib_per_image"} <= row.keys()
        assert row["ms_per_image"] > 0
    trained = [(row["method"], row["dtype"]) for row in rows if row["saved_mib_per_image"]]
    methods = ("full", "lora", "lora, deep", "lora, neck", "lora, head", "lora, live", "lora-fa", "peft")
    assert trained == [(method, dtype) for dtype in ("fp32", "bf16") for method in methods]
    assert {
        "inference merged",
        "inference attached",
        "inference both, all",
        "inference both, deep",
        "inference both, neck",
        "inference both, head",
        "switch adapters",
    } < {row["method"] for row in rows}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_memory_kept_for_the_backward(rows: list[dict[str, object]], dtype: str) -> None:
    """Deterministic, unlike times. At 320 px the adapter's weights weigh more beside the features than at 640."""
    kept = {row["method"]: row["memory_ratio"] for row in rows if row["dtype"] == dtype and row["saved_mib_per_image"]}
    assert kept["full"] == 1
    assert kept["lora"] <= 0.82
    assert kept["lora, deep"] <= 0.65
    assert kept["lora, head"] < kept["lora, neck"] < kept["lora, deep"]
    assert kept["lora-fa"] <= 0.50
    assert kept["peft"] > kept["lora"]


@pytest.mark.parametrize("sizes", ["640", "640x", "100x4", "640x0", "640x4,", "x4", "640 x4"])
def test_a_size_that_is_none_is_told(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sizes", sizes]) == 2
    assert f"--sizes {sizes}: expected sides" in " ".join(capsys.readouterr().err.split())


def test_a_gpu_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda:63"]) == 2
    assert "--device cuda:63: not usable on this machine" in " ".join(capsys.readouterr().err.split())
