"""A base and its adapter, ready to detect: three statements from a file to annotated pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_lora.api.options import make_options
from vision_lora.api.pictures import Order, Pictures, open_pictures
from vision_lora.api.results import Results
from vision_lora.detectors import base
from vision_lora.detectors.load import load_detector
from vision_lora.evaluation.coco_map import MapResult
from vision_lora.evaluation.split import measure_split, open_split
from vision_lora.options.common import Split
from vision_lora.options.detect import EvaluateConfig, PredictConfig, Using
from vision_lora.pictures.detections import Mode
from vision_lora.streaming.files.detect import detect_as

log = logging.getLogger(__name__)


class Detector:
    """Detects what its base knows, and with an adapter the defects that this has learned.

    Class ids count through `classes`: first the base's own, then the adapter's.

    Attributes:
        model: name or path of the base; None where the adapter's own was taken.
        adapter: file of the adapter; None without one.
        internal: what does the work, with attaching, switching and merging of adapters.

    Examples:
        Grey noise, in which a base that knows twenty everyday things finds none:

        >>> import numpy as np
        >>> from vision_lora import Detector
        >>> detector = Detector.load("starter", device="cpu")
        >>> detector.classes[:3], detector.imgsz
        (('person', 'bicycle', 'car'), 288)
        >>> noise = np.random.default_rng(0).integers(100, 130, (96, 128, 3), dtype=np.uint8)
        >>> detector.predict(noise, imgsz=64)
        <1 picture: nothing found>
    """

    def __init__(self, internal: base.Detector, model: str | None, adapter: Path | None) -> None:
        self.internal = internal
        self.model = model
        self.adapter = adapter

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None = None,
        *,
        adapter: str | os.PathLike[str] | None = None,
        device: str = "auto",
    ) -> Detector:
        """Load a base and, where one is given, an adapter for it.

        Args:
            model: `starter`, which ships with the package; an official name such as `yolo11n.pt`, downloaded once; or
                a checkpoint's path. None takes the base that the adapter names.
            adapter: file that training gave.
            device: auto, cpu, cuda, cuda:1 or mps; auto takes the first GPU, else the CPU.

        Raises:
            ConfigError: neither model nor adapter, or no such device.
            CheckpointError: the base is missing or unusable.
            AdapterError: the adapter is missing, broken, or was made for another base.
        """
        given = make_options(Using, model=model, adapter=adapter)
        internal = load_detector(given.model, given.adapter, device)
        return cls(internal, given.model, None if given.adapter is None else Path(given.adapter))

    def __repr__(self) -> str:
        learned = f" with {self.adapter}: {', '.join(self.defect_classes)}" if self.adapter else ""
        return f"<Detector {self.internal.base}{learned}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes, by class id: the base's own, then the adapter's."""
        return (*self.general_classes, *self.defect_classes)

    @property
    def general_classes(self) -> tuple[str, ...]:
        """Names of the classes that the base knows by itself: their class ids begin with 0."""
        return self.internal.names

    @property
    def defect_classes(self) -> tuple[str, ...]:
        """Names of the classes that the adapter has learned: their class ids follow the base's last."""
        adapter = self.internal.adapter
        return () if adapter is None else adapter.card.names

    @property
    def imgsz(self) -> int:
        """Side of the square that a picture is fitted into, pixels: what the adapter, or the base, was trained on."""
        return self.internal.imgsz

    def predict(
        self,
        pictures: Pictures,
        *,
        mode: Mode | None = None,
        confidence: float | None = PredictConfig.confidence,
        iou: float = PredictConfig.iou,
        limit: int = PredictConfig.limit,
        imgsz: int | None = None,
        batch: int = PredictConfig.batch,
        tile: int = PredictConfig.tile,
        overlap: float = PredictConfig.overlap,
        order: Order = "rgb",
    ) -> Results:
        """Detect; the same detections as `vision-lora predict` with these options.

        Args:
            pictures: a path (a picture, a video, a folder of them, or a COCO file), a pattern such as `line3/*.png`, an
                array of shape (height, width, 3) or, if grey, (height, width), uint8, a picture of Pillow's, or a list
                of such.
            mode: whose classes: `general` the base's own, `defects` the adapter's, `both`. By default the adapter's,
                without an adapter the base's.
            confidence: lowest score that counts, 0 to 1; by default the thresholds on the adapter's card, else 0.25.
            iou: overlap above which the weaker of two boxes of a class goes, 0 to 1.
            limit: most detections of a picture, or a tile, and of each pass, best first.
            imgsz: side of the square that a picture, or a tile, is fitted into, pixels, a multiple of 32; by default
                what the adapter was trained on.
            batch: pictures, or tiles, at once.
            tile: side of the tiles that large pictures are cut into, pixels; 0 for whole pictures.
            overlap: least share of a tile that its neighbour shows too.
            order: of the colours in arrays: `rgb`, or `bgr` as OpenCV has them.

        Returns:
            One result for each picture, or frame of a video. Pixels are not kept: files are read again where they are
            drawn. Of several pictures those that cannot be read are left out, and told in `problems`.

        Raises:
            ConfigError: an option is out of range.
            DataError: nothing to detect in, or the only picture cannot be read.
        """
        config = make_options(
            PredictConfig,
            **self._loaded(),
            source="pictures",
            mode=mode,
            confidence=confidence,
            iou=iou,
            limit=limit,
            imgsz=imgsz,
            batch=batch,
            tile=tile,
            overlap=overlap,
        )
        source = open_pictures(pictures, order)
        results = Results(source, detect_as(config, self.internal, source))
        for line in results.problems:
            log.warning("skipped %s", line)
        return results

    def evaluate(
        self,
        data: str | os.PathLike[str],
        *,
        split: Split = EvaluateConfig.split,
        classes: str | Sequence[str] | None = None,
        mode: Mode | None = None,
        imgsz: int | None = None,
        batch: int = EvaluateConfig.batch,
        tile: int = EvaluateConfig.tile,
        overlap: float = EvaluateConfig.overlap,
        strict: bool = False,
    ) -> MapResult:
        """Measure mean average precision on a split of a dataset, as `vision-lora evaluate` does.

        Args:
            data: a data.yaml, a COCO json, or a folder with one of them.
            split: which pictures: train, val or test.
            classes: those to measure, a list or one text with commas; default: all.
            mode: whose classes; by default the adapter's, without an adapter the base's.
            imgsz: as for `predict`.
            batch: as for `predict`.
            tile: as for `predict`.
            overlap: as for `predict`.
            strict: stop at a broken label or picture instead of skipping it.

        Raises:
            ConfigError: an option is out of range.
            DataError: no such data, or none of its classes is known.
        """
        config = make_options(
            EvaluateConfig,
            **self._loaded(),
            data=data,
            split=split,
            classes=classes if classes is None or isinstance(classes, str) else ",".join(classes),
            mode=mode,
            imgsz=imgsz,
            batch=batch,
            tile=tile,
            overlap=overlap,
            strict=strict,
        )
        dataset, samples = open_split(config)
        result, _ = measure_split(self.internal, dataset, samples, config)
        return result

    def _loaded(self) -> dict[str, Any]:
        """What was loaded, as options."""
        return {"model": self.model, "adapter": self.adapter}
