"""From the options of a verb to a detector, its adapter attached."""

from __future__ import annotations

from vision_lora.adapters.file import load_adapter
from vision_lora.detectors.base import Detector
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.devices import pick_device
from vision_lora.errors import CheckpointError


def load_detector(model: str | None, adapter: str | None, device: str = "auto") -> Detector:
    """Load a base and, where one is given, an adapter for it.

    Args:
        model: path or official name of the base; None takes the base that the adapter names.
        adapter: adapter file, or None.
        device: as for `pick_device`.

    Raises:
        CheckpointError: the base is missing or unusable.
        AdapterError: the adapter is missing, broken, or was made for another base.
        ConfigError: no such device.
    """
    chosen = pick_device(device)
    loaded = None if adapter is None else load_adapter(adapter)
    if model is None:
        assert loaded is not None, "a model or an adapter"
        model = loaded.card.base
        try:
            detector: Detector = YoloDetector.load(model)
        except CheckpointError as error:
            raise CheckpointError(f"the adapter's base is not here: {error}; or name it with --model") from error
    else:
        detector = YoloDetector.load(model)
    if loaded is not None:
        detector.attach(loaded)
    detector.to(chosen)
    return detector
