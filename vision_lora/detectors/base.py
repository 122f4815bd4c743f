"""The protocol of all detectors, and what they share: attached adapters, passes, the way in and the way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vision_lora.adapters.adapter import Adapter, fingerprint
from vision_lora.adapters.attach import AdapterSet
from vision_lora.adapters.weights.live import FoldedNorm
from vision_lora.detectors.network.survey import Survey, survey
from vision_lora.detectors.network.trunk import Trunk
from vision_lora.detectors.readout import Found, Readout, join
from vision_lora.errors import AdapterError, ConfigError, MismatchError
from vision_lora.pictures.detections import Detections, Mode, default_mode
from vision_lora.pictures.images import letterbox
from vision_lora.text.names import legible


class Model(NamedTuple):
    """Something that can be loaded, for a list of it all.

    Attributes:
        name: what to give as `--model`.
        choice: letters that may stand in the size's place, or the architecture.
        build: makes it with random weights, without network; None where its size is known from its files alone.
    """

    name: str
    choice: str = ""
    build: Callable[[], Detector] | None = None


class Detector(ABC):
    """A frozen, folded network with its class names and its adapters.

    A family implements the abstract methods, in one file. Everything else is shared.

    Args:
        network: the base, folded where it can be, in eval mode.
        names: the classes that it knows: the general vocabulary.
        base: file name of its checkpoint.

    Attributes:
        family: what adapters and errors call the family.
        supported: what `load` takes, in a line for the user.
        suffix: how a file of `save_checkpoint` ends; empty where it is a folder.
        uncapturable: why no CUDA graph can hold its losses; empty where one can: then `targets` may also have the same
            room in each picture, (B, N, 5), zeros where there is no box, and nothing waits for the device.
        side: of the square pictures that the base was trained on, pixels.
        norms: each BatchNorm that was folded, by the name of its convolution.
        families: those that have been imported, by name; `vision_lora.detectors.load` imports all.
    """

    family: ClassVar[str]
    supported: ClassVar[str]
    suffix: ClassVar[str] = ".pt"
    uncapturable: ClassVar[str] = "its losses match boxes on the host"
    side: int = 640
    norms: Mapping[str, FoldedNorm] = {}
    families: ClassVar[dict[str, type[Detector]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "family" in vars(cls):
            Detector.families[cls.family] = cls

    def __init__(self, network: nn.Module, names: Sequence[str], base: str) -> None:
        self.network = network.requires_grad_(False)
        self.names = tuple(map(legible, names))
        self.base = base
        self.fingerprint = fingerprint(network.state_dict())
        self.adapters = AdapterSet(network, self.fingerprint)
        self._general = self.names
        self._trunks: WeakKeyDictionary[Adapter, Trunk] = WeakKeyDictionary()
        self._survey: Survey | None = None

    # What a family has to say -----------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def models(cls) -> Iterator[Model]:
        """What the family loads: of each kind the smallest."""

    @abstractmethod
    def class_layers(self) -> tuple[str, ...]:
        """Names of the layers with one output (or row) a class and no others: each gets rows for the new ones."""

    def fixed_layers(self) -> Mapping[str, str]:
        """Layers that must not be adapted, with the reason."""
        return {}

    @abstractmethod
    def stage(self, layer: str) -> str:
        """Where a layer stands: `backbone`, `neck` or `head`."""

    @abstractmethod
    def initialise_rows(self, weight: Tensor, bias: Tensor | None, layer: str) -> None:
        """Fill the rows of new classes in one class layer, (classes, columns) and (classes,), before training."""

    @abstractmethod
    def classes_changed(self, count: int) -> None:
        """Tell the network how many classes its class layers have in the pass to come."""

    @abstractmethod
    def training_losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Losses of the active pass, as means over the pictures; training minimises their sum.

        Args:
            images: (B, 3, S, S), 0 to 1, RGB.
            targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels.
        """

    @abstractmethod
    def read(self, images: Tensor, readout: Readout) -> list[Found]:
        """Detections of the active pass in (B, 3, S, S) pictures, 0 to 1, RGB."""

    @abstractmethod
    def save_checkpoint(self, path: Path) -> None:
        """Write the network, with the classes that it now has, so that `load(path)` opens it again.

        Args:
            path: file, or folder where the family has no `suffix`; replaced once the new one is whole.

        Raises:
            ConfigError: this network has no place in the family's own layout.
        """

    def retaining_losses(
        self,
        images: Tensor,  # noqa: ARG002 - for those that can
        targets: Tensor | None,  # noqa: ARG002
        teacher: str | None,  # noqa: ARG002
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of the active joint pass: of its new classes, and how far its old ones are from the teacher's.

        Args:
            images: (B, 3, S, S), 0 to 1, RGB.
            targets: as for `training_losses`; None for pictures without labels.
            teacher: attached adapter whose pass shows how the old classes should be, or None for the base pass.

        Returns:
            The task's losses, empty without targets, and the distances by name: `classes`, `boxes`, `features`.
        """
        raise ConfigError(
            f"{self.base}: detectors of the family {self.family} cannot be trained jointly: train without --joint, "
            "and detect with both passes"
        )

    def begin_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027 - most losses have no schedule
        """Called before each training epoch, for losses that follow a schedule."""

    # Shared by all families -------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def adapter(self) -> Adapter | None:
        """The active adapter; None where none is, or where it is merged and so part of the network."""
        if self.adapters.active is None or self.adapters.merged:
            return None
        return self.adapters.adapters[self.adapters.active]

    @property
    def imgsz(self) -> int:
        """Side of the square pictures to detect in, pixels: what the active adapter or the base was trained on."""
        return self.side if self.adapter is None else self.adapter.card.imgsz

    def to(self, device: torch.device | str) -> None:
        """Move the network and all attached adapters."""
        self.network.to(device)
        for adapter in self.adapters.adapters.values():
            adapter.to(device)

    @contextmanager
    def pass_of(self, source: Literal["general", "defects"]) -> Iterator[tuple[str, ...]]:
        """Make the base pass or the adapted pass the active one; gives the class names that it speaks."""
        if source == "defects" and self.adapter is None:
            raise AdapterError("no adapter is active: only the general classes can be detected")
        if self.adapters.merged:
            yield self.names
            return
        with self.pass_with(None if source == "general" else self.adapters.active) as names:
            yield names

    @contextmanager
    def pass_with(self, name: str | None) -> Iterator[tuple[str, ...]]:
        """Make the pass of an attached adapter, or with None the base pass, the active one; gives its class names."""
        before = self.adapters.active
        self.adapters.use(name)
        try:
            names = self.names if name is None else self.vocabulary(self.adapters.adapters[name])
            self.classes_changed(len(names))
            with self.adapters.at_once():
                yield names
        finally:
            self.adapters.use(before)

    def vocabulary(self, adapter: Adapter) -> tuple[str, ...]:
        """The class names that an adapted pass speaks: the adapter's, behind the base's own where it is a joint one."""
        return (*self.names, *adapter.card.names) if adapter.joint else adapter.card.names

    def attach(self, adapter: Adapter, name: str = "default", *, use: bool = True) -> None:
        """Attach an adapter, see `AdapterSet.attach`.

        Raises:
            AdapterError: it does not fit this detector; nothing is attached then.
        """
        theirs, ours = set(adapter.class_rows), set(self.class_layers())
        if theirs != ours and adapter.card.fingerprint == self.fingerprint:  # another base is told as such
            strange = min(theirs ^ ours)
            raise MismatchError(
                f"layer {strange}: new class rows are expected in {', '.join(sorted(ours))}, and only there"
            )
        self.adapters.attach(adapter, name, use=use)

    def use(self, name: str | None) -> None:
        """Make an attached adapter the active one, or none: what is detected next is detected with it."""
        self.adapters.use(name)

    def merge(self) -> None:
        """Write the active adapter into the network: a plain detector of the adapter's classes, and of no others.

        Raises:
            AdapterError: no adapter is active, or one is merged already.
        """
        adapter = self.adapter
        self.adapters.merge()
        assert adapter is not None, "merging without an active adapter raises"
        self._general, self.names = self.names, self.vocabulary(adapter)
        self.classes_changed(len(self.names))

    def unmerge(self) -> None:
        """Undo `merge`: base and adapter are as before, to the bit.

        Raises:
            AdapterError: no adapter is merged.
        """
        self.adapters.unmerge()
        self.names = self._general
        self.classes_changed(len(self.names))

    def train_mode(self) -> None:
        """Put the network into training mode, but for frozen BatchNorm: its statistics stay too."""
        self.network.train()
        for layer in self.network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.train(any(parameter.requires_grad for parameter in layer.parameters(recurse=False)))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Training losses of the adapted pass, or of the network itself where no adapter is active.

        Args:
            images: (B, 3, S, S) uint8 RGB.
            targets: (M, 6): index in the batch, class, x1, y1, x2, y2 in pixels.
        """
        if self.adapter is not None:
            self.survey()  # an adapter from a file comes without a plan
        with self.pass_of("general" if self.adapter is None else "defects"):
            return self.training_losses(self.prepare(images), targets)

    @torch.no_grad()
    def detect(self, images: Tensor, *, mode: Mode | None = None, readout: Readout = Readout()) -> list[Detections]:
        """Detect in letterboxed pictures.

        Args:
            images: (B, 3, S, S) uint8 RGB.
            mode: `general` runs the base pass, `defects` the adapted pass, `both` joins their detections. By default
                `defects` with an active adapter; without one `general`, and `both` means that too.
            readout: thresholds.

        Returns:
            One `Detections` a picture, boxes in pixels of the letterboxed picture.
        """
        self.network.eval()
        prepared = self.prepare(images)
        adapter = self.adapter
        mode = mode or default_mode(adapter)
        learned = () if adapter is None else adapter.card.names
        joint = adapter is not None and adapter.joint
        passes: list[tuple[list[Found], int]] = []
        lowest = readout.lowest
        with self._trunk().shared() if mode == "both" and learned and not joint else nullcontext():
            if mode == "general" or (mode == "both" and not joint):
                with self.pass_of("general"):
                    passes.append((self.read(prepared, lowest), 0))
            if mode == "defects" or (mode == "both" and learned):
                with self.pass_of("defects"):
                    passes.append((self.read(prepared, lowest), 0 if joint else len(self.names)))
        vocabulary = (*self.names, *learned)
        joined = [
            join([(found[index], offset) for found, offset in passes], vocabulary, len(self.names), readout.limit)
            for index in range(len(images))
        ]
        if readout.thresholds:
            joined = [found.above(readout.confidence, readout.thresholds) for found in joined]
        return [found.of("defects") for found in joined] if joint and mode == "defects" else joined

    def readout(self, confidence: float | None, *, iou: float, limit: int) -> Readout:
        """Options of postprocessing; without a confidence, the thresholds that the active adapter's card names count.

        Args:
            confidence: lowest score that counts; None for the card's, and for all other classes the usual one.
            iou: see `Readout`.
            limit: see `Readout`.
        """
        if confidence is not None:
            return Readout(confidence, iou, limit)
        return Readout(iou=iou, limit=limit, thresholds={} if self.adapter is None else self.adapter.card.thresholds)

    def predict(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        imgsz: int,
        *,
        mode: Mode | None = None,
        readout: Readout = Readout(),
    ) -> list[Detections]:
        """Detect in pictures of any size, (H, W, 3) uint8 RGB, as `detect`; boxes are in pixels of each picture."""
        if not pictures:
            return []
        boxed = [letterbox(picture, imgsz) for picture in pictures]
        images = torch.from_numpy(np.stack([square for square, _, _ in boxed])).permute(0, 3, 1, 2)
        found = self.detect(images.to(self.device), mode=mode, readout=readout)
        return [
            detections.from_letterbox(scale, pad, (picture.shape[1], picture.shape[0]))
            for detections, (_, scale, pad), picture in zip(found, boxed, pictures, strict=True)
        ]

    def survey(self) -> Survey:
        """What a pass shows of the layers, looked at once; those whose outputs are overwritten are told so."""
        if self._survey is None:
            picture = torch.zeros(1, 3, self.side, self.side, dtype=torch.uint8, device=self.device)
            self._survey = survey(self.network, lambda: self.detect(picture, mode="general"))
            for name in self._survey.overwritten:
                self.network.get_submodule(name).__dict__["overwritten"] = True
        return self._survey

    def _trunk(self) -> Trunk:
        """What the base pass and the active adapter's pass have in common."""
        name = self.adapters.active
        assert name is not None, "only where an adapter is active"
        adapter = self.adapters.adapters[name]
        known = self._trunks.get(adapter)
        if known is None:
            known = self._trunks[adapter] = Trunk(self.network, self.adapters.layers(name))
        return known

    @staticmethod
    def prepare(images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 to floats of 0 to 1, channels last in memory."""
        return images.to(torch.float32, memory_format=torch.channels_last).div_(255)
