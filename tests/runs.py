"""Command lines of short training runs."""

from __future__ import annotations

from pathlib import Path


def options(shared: Path, dataset: Path, out: Path, **more: object) -> list[str]:
    given = {
        "data": dataset,
        "model": shared / "weights" / "yolo11n.pt",
        "imgsz": 128,
        "epochs": 2,
        "batch": 8,
        "draws": 0,
        "out": out,
    }
    given |= {"workers": 0, "precision": "fp32", "device": "cpu", **more}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
