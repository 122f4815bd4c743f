"""The one way to a detector: from a name to the family that knows it, with its adapter where there is one.

Programs come here through `vision_lora.Detector.load`, verbs through `load_detector`; training takes `load_base`, which
can keep BatchNorm as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from vision_lora.adapters.adapter import Card
from vision_lora.adapters.file import load_adapter
from vision_lora.detectors.base import Detector, Model
from vision_lora.detectors.checkpoints import starter, weights
from vision_lora.detectors.rtdetr import RtdetrDetector
from vision_lora.detectors.torchvision import TorchvisionDetector
from vision_lora.detectors.transformers import TransformersDetector
from vision_lora.detectors.ultralytics import UltralyticsDetector, described
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import CheckpointError, MissingCheckpointError
from vision_lora.system.devices import pick_device

# Importing a family is what makes it known. One of Ultralytics is told by the network in its file, the others by name.
BY_NAME: tuple[type[TransformersDetector | TorchvisionDetector], ...] = (TransformersDetector, TorchvisionDetector)
ULTRALYTICS: tuple[type[UltralyticsDetector], ...] = (YoloDetector, RtdetrDetector)


def load_base(name: str, *, fold: bool = True) -> Detector:
    """Load a base with the family that knows it.

    Args:
        name: path, official name, or architecture; see `supported`.
        fold: fold each BatchNorm into its convolution; False keeps them, to train the whole network.

    Raises:
        CheckpointError: missing, broken or unsafe file, or no network that any family supports.
    """
    if name == starter.NAME:
        shipped, side = starter.read_starter()
        detector = YoloDetector.of(shipped, starter.NAME, fold=fold)
        detector.side = side
        return detector
    for family in BY_NAME:
        if family.claims(name):
            return family.load(name, fold=fold)
    if not weights.is_architecture(name):
        path = weights.find_checkpoint(name)
        checkpoint = weights.read_checkpoint(path)
        if TorchvisionDetector.wrote(checkpoint):
            return TorchvisionDetector.of(checkpoint, path, fold=fold)
        network, base = weights.network_in(checkpoint, path), path.name
    else:
        network, base = weights.read_network(name)
    for of_ultralytics in ULTRALYTICS:
        if of_ultralytics.knows(network):
            return of_ultralytics.of(network, base, fold=fold)
    raise CheckpointError(f"{name}: {described(network)}, not a supported detector; expected {supported()}")


def models() -> Iterator[Model]:
    """What `load_base` takes: the base that ships with the package, and of each kind the smallest."""
    yield Model(starter.NAME, "ships with the package", partial(load_base, starter.NAME))
    for family in (*ULTRALYTICS, *BY_NAME):
        yield from family.models()


def supported() -> str:
    """What `load_base` takes, in a line."""
    families = "; ".join(family.supported for family in Detector.families.values())
    return f"{starter.NAME}, the base that ships with the package; {families}"


def official(name: str) -> bool:
    """Whether a name means weights that are downloaded where a user asks for them by name."""
    return weights.official(name) or TorchvisionDetector.official(name)


def load_detector(model: str | None, adapter: str | None, device: str = "auto") -> Detector:
    """Load a base and, where one is given, an adapter for it.

    Args:
        model: path or official name of the base; None takes the base that the adapter names, where it is on this
            machine: nothing is downloaded because a file says so.
        adapter: adapter file, or None.
        device: as for `pick_device`.

    Raises:
        CheckpointError: the base is missing or unusable.
        AdapterError: the adapter is missing, broken, or was made for another base.
        ConfigError: no such device.
    """
    chosen = pick_device(device)
    if adapter is None:
        assert model is not None, "a model or an adapter"
        detector = load_base(model)
    else:
        loaded = load_adapter(adapter)
        card = loaded.card
        try:
            detector = load_base(model if model is not None else _base_of(card, Path(adapter).parent))
        except MissingCheckpointError as error:
            by_name = card.base == starter.NAME or (model is None and official(card.base))
            wanted = card.base if by_name else f"/path/to/{card.base}"
            raise CheckpointError(
                f"{error.found}; {adapter} was made for the base {card.base} ({card.fingerprint[:12]}) and fits no "
                f"other: --model {wanted}"
            ) from error
        detector.attach(loaded)
    detector.to(chosen)
    return detector


def _base_of(card: Card, folder: Path) -> str:
    """The base that an adapter's card names, where this machine has it.

    Args:
        card: says what the file is called, without folders.
        folder: where the adapter is.

    Raises:
        MissingCheckpointError: it is neither in the working directory nor beside the adapter nor among downloads.
    """
    if card.base == starter.NAME or TorchvisionDetector.has(card.base):
        return card.base
    for place in (Path(), folder, weights.downloads()):
        path = place / card.base
        if path.is_file() or (path / "config.json").is_file():
            return str(path.resolve())  # which no prefix of a family can be in front of
    raise MissingCheckpointError("the adapter's base is not here, not beside it and not downloaded", "name it")
