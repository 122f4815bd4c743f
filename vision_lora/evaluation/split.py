"""Measure a detector on a split of a dataset, as the options of `evaluate` say."""

from __future__ import annotations

from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.detectors.base import Detector
from vision_lora.errors import DataError
from vision_lora.evaluation.coco_map import MapResult
from vision_lora.evaluation.measure import measure, measure_tiled
from vision_lora.options.detect import EvaluateConfig
from vision_lora.pictures.detections import default_mode
from vision_lora.text.names import pick


def open_split(config: EvaluateConfig) -> tuple[Dataset, list[Sample]]:
    """The dataset, with the classes that are to be measured, and the pictures of the split.

    Raises:
        DataError: no dataset, or no such split in it.
    """
    dataset = open_dataset(config.data, strict=config.strict).sure()
    if config.classes is not None:
        dataset = dataset.only(pick(config.classes, dataset.names))
    samples = dataset.splits.get(config.split)
    if not samples:
        raise DataError(f"{config.data}: no {config.split} split; there: {', '.join(dataset.splits)}")
    return dataset, samples


def measure_split(detector: Detector, dataset: Dataset, samples: list[Sample], config: EvaluateConfig) -> MapResult:
    """Mean average precision on the pictures of a split.

    Raises:
        DataError: the detector knows none of the dataset's classes in this mode.
    """
    imgsz, names = config.imgsz or detector.imgsz, dataset.names
    mode = config.mode or default_mode(detector.adapter)
    if config.tile:
        result, _ = measure_tiled(
            detector,
            samples,
            names,
            imgsz=imgsz,
            batch=config.batch,
            tile=config.tile,
            overlap=config.overlap,
            mode=mode,
        )
    else:
        result, _ = measure(detector, eval_loader(samples, imgsz, config.batch), samples, names, mode=mode)
    return result
