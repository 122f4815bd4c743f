"""A small dataset to plan comparisons of, and a made-up result: three methods, two training sets, two seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.datasets.build import picture, yolo
from vision_lora.comparison.report.result import Result, Row, Run
from vision_lora.comparison.stats import Interval, spread

NAMES = ["scratch", "dent"]


def steel(root: Path, train: int = 8) -> Path:
    """Train, val and test; class 0 and 1 in turn."""
    source = yolo(root, [f"{index % 2} 0.{index + 1} 0.5 0.171 0.3\n" for index in range(train)])
    for split in ("val", "test"):
        for index in range(2):
            picture(root / "images" / split / f"{split}{index}.png", seed=20 + index)
            label = root / "labels" / split / f"{split}{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{index} 0.41 0.5 0.3 0.3\n")
    source.write_text(source.read_text() + "val: images/val\ntest: images/test\n")
    return source


def row(method: str, scores: tuple[float, ...], **more: object) -> Row:
    """A row of the training set `all` whose runs have these scores; keywords replace its fields."""
    lora = method.startswith("lora")
    per_class = [{"scratch": (score, 0.5), "dent": (None, None)} for score in scores]
    runs = [
        Run(seed, score, 1.5 * score, score + 0.01, 2, [score / 2, score], 60.0, per_class[seed])
        for seed, score in enumerate(scores)
    ]
    made = Row(
        method=method,
        shots="all",
        images=120,
        images_per_class=60,
        lr=0.001,
        trials=[(0.0005, 0.3), (0.001, 0.4), (0.002, 0.35)],
        map50_95=spread(scores),
        map50=spread([1.5 * score for score in scores]),
        to_first=None,
        to_best=None,
        keeps_classes=lora,
        joint=False,
        kept=0.444 if lora else None,
        identical=True if lora else None,
        trainable_parameters=284_194 if lora else 2_606_082,
        total_parameters=2_624_080,
        bytes=1_169_552 if lora else 10_707_930,
        seconds_per_step=0.2,
        images_per_second=75.0,
        peak_memory_mib=1900.0,
        saved_mib=400.0 if lora else 600.0,
        wall_seconds=600.0,
        runs=runs,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def result(rows: list[Row] | None = None, **facts: object) -> Result:
    """A comparison of lora, full and ultralytics with all pictures and with ten a class."""
    if rows is None:
        behind = {"to_first": Interval(-0.03, -0.05, -0.01), "to_best": Interval(-0.03, -0.05, -0.01)}
        rows = [
            row("lora", (0.41, 0.42), to_best=Interval(-0.005, -0.02, 0.01)),
            row("full", (0.42, 0.42), to_first=Interval(0.005, -0.01, 0.02)),
            row("ultralytics", (0.38, 0.39), lr=None, trials=[(None, 0.39)], saved_mib=None, **behind),
        ]
        rows = [
            *(replace(one, shots="10", images=21, images_per_class=10.5) for one in rows),
            *rows,
        ]
    return Result(
        title="steel/data.yaml, yolo11n.pt, 320 px",
        command="python -m vision_lora.compare --data steel/data.yaml",
        facts={
            "scored": "test",
            "scored_images": 270,
            "names": NAMES,
            "seeds": [0, 1],
            "epochs": 20,
            "batch": 16,
            "rank": 8,
            "imgsz": 320,
            "draws": 500,
            "jobs": 1,
            "augment": "surface",
            "resamples": 1000,
            "base": "yolo11n.pt",
            "base_fingerprint": "66e0",
            "base_classes": 80,
            "data_fingerprint": "ab12",
            "device": "cpu",
            "machine": {"processor": "x86_64", "cores": 2},
            "versions": {"torch": "2.15"},
            **facts,
        },
        base_kept=0.444,
        rows=rows,
        missing=[],
        problems=[],
    )
