"""Every family can learn: sixteen real pictures by heart, by an adapter on real weights, or from random ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.detectors.build import as_trained
from tests.runs import options
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Sample
from vision_lora.detectors.base import Detector
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.rtdetr import RtdetrDetector
from vision_lora.detectors.transformers import TransformersDetector
from vision_lora.evaluation.measure import measure
from vision_lora.train import main as train

# isort: split
# After the families, which set how Ultralytics behaves.
from ultralytics.nn.tasks import RTDETRDetectionModel

SIDE = 160


@pytest.fixture(scope="module")
def sixteen(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures of NEU-DET, of every class, to train and to measure on."""
    source, root = shared / "datasets" / "neu-det", tmp_path_factory.mktemp("sixteen")
    pictures = sorted((source / "images" / "train").iterdir())
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    for picture in pictures[:: len(pictures) // 16][:16]:
        shutil.copy(picture, root / "images" / "train")
        shutil.copy(source / "labels" / "train" / f"{picture.stem}.txt", root / "labels" / "train")
    text = (source / "data.yaml").read_text()
    (root / "data.yaml").write_text(text.replace("images/val", "images/train").replace("images/test", "images/train"))
    return root / "data.yaml"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("weights", ["yolov8n.pt", "yolo11n.pt", "yolo26n.pt"])
def test_an_adapter_on_real_weights(weights: str, shared: Path, sixteen: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    more = {"imgsz": 224, "epochs": 5, "draws": 320, "lr": 0.004, "augment": "none", "precision": "auto"}
    assert train(options(shared, sixteen, out, model=shared / "weights" / weights, **more)) == 0
    assert json.loads((out / "summary.json").read_text())["map50"] >= 0.9


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", ["rtdetr", "yolos"])
def test_every_weight_from_random_ones(family: str, sixteen: Path) -> None:
    torch.manual_seed(0)
    dataset = open_dataset(str(sixteen))
    samples = dataset.splits["train"]
    detector = {"rtdetr": _rtdetr, "yolos": _yolos}[family]()
    replace_classes(detector, dataset.names)
    unfreeze(detector)
    _learn(detector, samples, steps={"rtdetr": 450, "yolos": 900}[family])
    result, _ = measure(detector, eval_loader(samples, SIDE, 16), samples, dataset.names, mode="general")
    assert result.map50 >= 0.6


def _learn(detector: Detector, samples: list[Sample], steps: int) -> None:
    """Always the same batch, as training would see it without augmentation."""
    (batch,) = eval_loader(samples, SIDE, len(samples))
    parameters = [parameter for parameter in detector.network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
    for _ in range(steps):
        loss = torch.stack(list(detector.losses(batch.images, batch.targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


def _rtdetr() -> Detector:
    """An RT-DETR with every part of the large ones, 64 wide."""
    layers = {
        "nc": 6,
        "scales": {"n": [1.0, 1.0, 1024]},
        "scale": "n",
        "backbone": [
            [-1, 1, "Conv", [16, 3, 2]],
            [-1, 1, "Conv", [32, 3, 2]],
            [-1, 1, "HGBlock", [32, 64, 3, 2, True, False]],
            [-1, 1, "Conv", [64, 3, 2]],
            [-1, 1, "Conv", [64, 3, 2]],
        ],
        "head": [
            [-1, 1, "AIFI", [128, 4]],
            [-1, 1, "RepC3", [64]],
            [[3, 4, 6], 1, "RTDETRDecoder", ["nc", 64, 60, 4, 4, 3, 128]],
        ],
    }
    return RtdetrDetector.of(as_trained(RTDETRDetectionModel(layers, verbose=False)), "rtdetr.yaml")


def _yolos() -> Detector:
    """A plain ViT that detects, 64 wide."""
    import transformers as hf

    configuration = hf.YolosConfig(
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        image_size=[SIDE, SIDE],
        num_detection_tokens=40,
        num_labels=6,
    )
    network = hf.AutoModelForObjectDetection.from_config(configuration)
    return TransformersDetector(network, hf.DetrImageProcessor(), "yolos")
