"""Adapter: what one training run learns, complete enough to rebuild the trained model from the base."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vision_lora.adapters.plan import Plan, make_delta
from vision_lora.adapters.weights.deltas import Delta, NewRows, ScaleShift
from vision_lora.adapters.weights.live import FoldedNorm, LiveNorm
from vision_lora.errors import AdapterError, ClassClashError
from vision_lora.text.names import strange, unfit


@dataclass(frozen=True)
class Card:
    """What an adapter says of itself, kept in the header of its file.

    A card that exists can be written and read again: what a file could not hold is refused when the card is made,
    before any training.

    Attributes:
        family: the detector family it was made with.
        base: file name of the base checkpoint.
        fingerprint: hash of the folded base weights, see `fingerprint`.
        names: the classes it learned, in the order of its rows.
        alpha: numerator of the low-rank factor s.
        imgsz: side of the square pictures it was trained on, pixels.
        metrics: results of the run.
        created: ISO date and time, UTC.
        version: vision_lora's version.
        thresholds: lowest score of a class that counts, by name; of a class that is not named the usual one.
        rule: how these were chosen, such as `f1 on val`.

    Raises:
        AdapterError: a value that no adapter file has.
        ClassClashError: no class, or one twice.
    """

    family: str
    base: str
    fingerprint: str
    names: tuple[str, ...]
    alpha: float
    imgsz: int = 640
    metrics: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    version: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rule: str = ""

    def __post_init__(self) -> None:
        for name in ("family", "base", "fingerprint", "created", "version", "rule"):
            value = getattr(self, name)
            if not isinstance(value, str) or (not value and name in ("family", "base")):
                raise AdapterError(f"{name} has to be text, not {value!r:.60}")
            if letter := strange(value):
                raise AdapterError(f"{name} {value!r:.60} holds {letter}: rename it")
        # A name that leads elsewhere would make a verb load a checkpoint that its user has never named.
        if set("/\\") & set(self.base):
            raise AdapterError(f"base {self.base!r:.60} has to be a file name without folders: rename it")
        for name in self.names:
            if not isinstance(name, str) or (reason := unfit(name)):
                raise AdapterError(f"class name {name!r:.60} {reason if isinstance(name, str) else 'is no text'}")
        if not self.names or len(set(self.names)) < len(self.names):
            raise ClassClashError(f"class names {list(self.names)!r:.200}: expected at least one, each once")
        if type(self.alpha) not in (int, float) or not 0 < self.alpha < 1e6:
            raise AdapterError(f"alpha {self.alpha!r:.60}: expected a number above 0")
        if type(self.imgsz) is not int or not 32 <= self.imgsz <= 8192 or self.imgsz % 32:
            raise AdapterError(f"imgsz {self.imgsz!r:.60}: expected 32 to 8192 in steps of 32")
        if not isinstance(self.metrics, Mapping):
            raise AdapterError("metrics have to be a table")
        _check_thresholds(self.thresholds, self.names)


class Adapter(nn.Module):
    """The deltas of one training run by site name, and the card.

    Its `state_dict` holds all that training learned and nothing else, so averaging, saving and loading need no
    special case. `AdapterSet.attach` connects it with a network.
    """

    def __init__(self, deltas: Mapping[str, Delta], card: Card) -> None:
        super().__init__()
        # Module names must not contain dots.
        self._deltas = nn.ModuleDict({site.replace(".", "/"): delta for site, delta in deltas.items()})
        self.card = card

    @classmethod
    def from_plan(cls, plan: Plan, card: Card, *, joint: bool = False) -> Adapter:
        """A new adapter: it changes none of the network's outputs, the new classes' rows aside.

        Args:
            plan: which layers it changes.
            card: what it says of itself.
            joint: whether the layers' own class rows stay in front of the new ones.
        """
        return cls({entry.site: make_delta(entry, alpha=card.alpha, joint=joint) for entry in plan.adapted}, card)

    @property
    def deltas(self) -> dict[str, Delta]:
        """The deltas by site name."""
        return {key.replace("/", "."): delta for key, delta in self._deltas.items()}  # type: ignore[misc]

    @property
    def class_rows(self) -> dict[str, NewRows]:
        """The deltas that hold the new classes' rows, by layer name."""
        return {site: delta for site, delta in self.deltas.items() if isinstance(delta, NewRows)}

    @property
    def joint(self) -> bool:
        """Whether one pass of it detects the base's classes and the new ones."""
        return any(rows.keep for rows in self.class_rows.values())

    def parameter_count(self) -> dict[str, int]:
        """Learned numbers by part: low-rank factors, scale and shift, new class rows."""
        counts = {"low-rank factors": 0, "scale and shift": 0, "new class rows": 0}
        for delta in self.deltas.values():
            for name, parameter in delta.learned().items():
                part = "scale and shift" if name in ("gain", "shift") else "low-rank factors"
                counts["new class rows" if isinstance(delta, NewRows) else part] += parameter.numel()
        return counts

    def thaw(self, norms: Mapping[str, FoldedNorm]) -> int:
        """Make the BatchNorm of adapted layers live in training, see `vision_lora.adapters.weights.live`.

        Args:
            norms: those that were folded into the base, by layer.

        Returns:
            How many there are.
        """
        live = {site: delta for site, delta in self.deltas.items() if site in norms and isinstance(delta, ScaleShift)}
        for site, delta in live.items():
            delta.thaw(norms[site])
        return len(live)

    @property
    def live(self) -> bool:
        """Whether some layer's BatchNorm is live in training."""
        return any(isinstance(layer, LiveNorm) for layer in self.modules())

    def folded(self) -> Adapter:
        """The adapter with its live BatchNorm folded; itself where it has none."""
        if not self.live:
            return self
        deltas = copy.deepcopy(self.deltas)
        for delta in deltas.values():
            if isinstance(delta, ScaleShift):
                delta.fold()
        return Adapter(deltas, self.card)

    @torch.no_grad()
    def rounded(self) -> Adapter:
        """A copy whose numbers are those that fp16 has; one beyond its range is infinite."""
        deltas = copy.deepcopy(self.deltas)
        for delta in deltas.values():
            for tensor in delta.state_dict().values():
                tensor.copy_(tensor.half())
        return Adapter(deltas, self.card)

    @property
    def finite(self) -> bool:
        """Whether no number of it is infinite or none."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.state_dict().values())

    def with_thresholds(self, thresholds: Mapping[str, float], rule: str) -> Adapter:
        """The same adapter (its tensors are shared) with thresholds on the card."""
        return Adapter(self.deltas, replace(self.card, thresholds=dict(thresholds), rule=rule))

    def with_metrics(self, metrics: Mapping[str, Any], created: str, version: str) -> Adapter:
        """The same adapter (its tensors are shared) with the results of its run on the card."""
        return Adapter(self.deltas, replace(self.card, metrics=dict(metrics), created=created, version=version))


def _check_thresholds(thresholds: Mapping[str, float], names: tuple[str, ...]) -> None:
    if not isinstance(thresholds, Mapping):
        raise AdapterError("thresholds have to be a table")
    for name, value in thresholds.items():
        if name not in names or type(value) not in (int, float) or not 0 < value <= 1:
            raise AdapterError(
                f"threshold {name!r:.60}: {value!r:.60}; expected a number above 0, at most 1, of a class"
            )


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
