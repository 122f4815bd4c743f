"""The adapters on a running detector, by the names of the registry; files are read outside of the detector's thread."""

from __future__ import annotations

from collections.abc import Collection

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.file import load_adapter
from vision_lora.adapters.weights.tensors import brief
from vision_lora.detectors.base import Detector
from vision_lora.errors import AdapterError
from vision_lora.streaming.choices.registry import AdapterRegistry

# Adapters that stay attached though no source is watched with them: coming back to one costs no time. Each holds its
# effective weights, as much memory as the base.
SPARE = 8


class Attached:
    """Puts adapters on a detector and takes them off.

    Args:
        detector: without adapters.
        registry: what may be attached.
    """

    def __init__(self, detector: Detector, registry: AdapterRegistry) -> None:
        self.detector = detector
        self.registry = registry
        self._keys: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """What is attached."""
        return list(self._keys)

    def load(self, name: str) -> tuple[str, Adapter | None]:
        """Read an adapter, in any thread: a key for its file as it is now, and None where that is attached already.

        Raises:
            AdapterError: there is none of this name, or its file is broken.
        """
        file = self.registry.file(name)
        try:
            key = f"{name}@{file.stat().st_mtime_ns}"
        except OSError as error:
            raise AdapterError(f"{file}: no such adapter file ({error.strerror})") from None
        return key, None if self._keys.get(name) == key else load_adapter(file)

    def put_on(self, name: str, key: str, adapter: Adapter | None) -> None:
        """Attach what `load` gave, in the detector's thread; what was attached under the name before goes.

        Raises:
            AdapterError: it does not fit; nothing has changed then.
        """
        if adapter is None or self._keys.get(name) == key:
            self._keys[name] = self._keys.pop(name)  # the last to be taken off
            return
        try:
            adapter.to(self.detector.device)
            self.detector.attach(adapter, key, use=False)
        except RuntimeError as error:  # the device's memory is full
            raise AdapterError(f"adapter {name!r} cannot be attached: {brief(error)}") from None
        if (old := self._keys.pop(name, None)) is not None:
            self.detector.adapters.detach(old)
        self._keys[name] = key

    def use(self, name: str | None) -> None:
        """Detect with it from now on, in the detector's thread."""
        self.detector.use(None if name is None else self._keys[name])

    def tidy(self, used: Collection[str]) -> None:
        """Take off what has not been asked for lately, in the detector's thread.

        Args:
            used: names that stay whatever happens.
        """
        spare = [name for name in self._keys if name not in used]
        for name in spare[: max(0, len(spare) - SPARE)]:
            self.detector.adapters.detach(self._keys.pop(name))

    def imgsz(self, name: str | None) -> int:
        """Side of the square pictures that an adapter, or with None the base, was trained on, pixels."""
        return self.detector.side if name is None else self.detector.adapters.adapters[self._keys[name]].card.imgsz

    def card(self, name: str | None) -> Card | None:
        """What an attached adapter says of itself."""
        adapter = None if name is None else self.detector.adapters.adapters.get(self._keys.get(name, ""))
        return None if adapter is None else adapter.card

    def classes(self, name: str | None) -> tuple[str, ...]:
        """The classes that an attached adapter learned."""
        card = self.card(name)
        return () if card is None else card.names
