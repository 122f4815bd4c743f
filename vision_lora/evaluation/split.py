"""Measure a detector on a split of a dataset, as the options of `evaluate` say."""

from __future__ import annotations

from collections.abc import Sequence

from vision_lora.adapters.adapter import Card
from vision_lora.datasets.batches.loader import eval_loader
from vision_lora.datasets.open import open_dataset
from vision_lora.datasets.sample import Dataset, Sample
from vision_lora.detectors.base import Detector
from vision_lora.errors import DataError
from vision_lora.evaluation.assessment import Assessment
from vision_lora.evaluation.coco_map import MapResult
from vision_lora.evaluation.measure import measure, measure_tiled
from vision_lora.evaluation.scoring.choose import Chosen, choose_thresholds
from vision_lora.evaluation.scoring.outcomes import find_outcomes
from vision_lora.options.detect import EvaluateConfig
from vision_lora.options.threshold import Rule
from vision_lora.pictures.detections import CONFIDENCE, Detections, default_mode
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


def measure_split(
    detector: Detector, dataset: Dataset, samples: list[Sample], config: EvaluateConfig
) -> tuple[MapResult, list[Detections]]:
    """Mean average precision on the pictures of a split, and the detections it was computed from.

    Raises:
        DataError: the detector knows none of the dataset's classes in this mode.
    """
    imgsz, names = config.imgsz or detector.imgsz, dataset.names
    mode = config.mode or default_mode(detector.adapter)
    if config.tile:
        return measure_tiled(
            detector,
            samples,
            names,
            imgsz=imgsz,
            batch=config.batch,
            tile=config.tile,
            overlap=config.overlap,
            mode=mode,
        )
    return measure(detector, eval_loader(samples, imgsz, config.batch), samples, names, mode=mode)


def assess(
    card: Card | None,
    found: Sequence[Detections],
    samples: Sequence[Sample],
    result: MapResult,
    *,
    rule: Rule | None,
    split: str,
    groups: Sequence[str],
) -> tuple[Assessment, Chosen]:
    """What the detections are worth, at thresholds by a rule or at those that are used now.

    Args:
        card: of the adapter, which says what is used now; None without one.
        found: from `measure_split`.
        samples: the pictures.
        result: from `measure_split`.
        rule: by which thresholds are chosen; None for those that are used now.
        split: what the pictures are called.
        groups: the part that each picture shows.

    Returns:
        The assessment, and what was chosen. Where nothing could be chosen what is used now counts.
    """
    used = dict(card.thresholds) if card else {}
    told = (card.rule if card and used else "") or f"{CONFIDENCE}, as none were chosen"
    chosen = Chosen({})
    if rule is not None:
        chosen = choose_thresholds(find_outcomes(found, samples, tuple(result.per_class)), rule)
        used, told = {**used, **chosen.thresholds}, f"{rule.text} on {split}"
    one = Assessment.of(found, samples, result, thresholds=used, rule=told, groups=groups)
    return one, chosen
