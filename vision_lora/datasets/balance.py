"""What became of every file and every box of a dataset: seen = used + told, or a reader has lost something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Fate = Literal["used", "ignored", "skipped", "left out", "not needed"]


@dataclass(frozen=True)
class Balance:
    """Files and boxes of a dataset by what became of them.

    Args:
        files: pictures, their labels, and whatever else lies in their folders: `used`, `skipped` (broken),
            `left out` (nothing that the dataset names) or `not needed` (such as `Thumbs.db`).
        boxes: `used`, `ignored` (regions that are neither defect nor background) or `skipped`.
        files_seen: counted where they were found.
        boxes_seen: counted where they were found.

    Examples:
        >>> balance = Balance({"used": 4, "skipped": 1}, {"used": 7}, 5, 7)
        >>> print(balance, balance.lost)
        files: 5 seen = 4 used + 1 skipped; boxes: 7 seen = 7 used (0, 0)
    """

    files: Mapping[Fate, int] = field(default_factory=dict)
    boxes: Mapping[Fate, int] = field(default_factory=dict)
    files_seen: int = 0
    boxes_seen: int = 0

    @property
    def lost(self) -> tuple[int, int]:
        """Files and boxes that nothing accounts for: a fault of the reader."""
        return self.files_seen - sum(self.files.values()), self.boxes_seen - sum(self.boxes.values())

    def __str__(self) -> str:
        parts = [
            f"{kind}: {seen} seen = "
            + (" + ".join(f"{n} {fate}" for fate, n in counts.items() if n or fate == "used") or "0 used")
            + (f" + {lost} LOST (please report this)" if lost else "")
            for kind, seen, counts, lost in zip(
                ("files", "boxes"),
                (self.files_seen, self.boxes_seen),
                (self.files, self.boxes),
                self.lost,
                strict=True,
            )
        ]
        return "; ".join(parts)


class Ledger:
    """Every file as it is found, and then what becomes of it. A file that is used stays so.

    Attributes:
        boxes: boxes as they are found, whatever becomes of them.
    """

    def __init__(self) -> None:
        self._fates: dict[str, Fate | None] = {}
        self.boxes = 0

    def see(self, file: Path | str) -> None:
        """Take note of a file; or of an entry of a list, by its place."""
        self._fates.setdefault(str(file), None)

    def settle(self, file: Path | str, fate: Fate) -> None:
        """Write down what became of a file."""
        if self._fates.get(str(file)) != "used":
            self._fates[str(file)] = fate

    def knows(self, file: Path | str) -> bool:
        """Whether a file was seen."""
        return str(file) in self._fates

    def fate(self, file: Path | str) -> Fate | None:
        """What became of a file; None as long as nothing has."""
        return self._fates.get(str(file))

    def balance(self, boxes: Mapping[Fate, int]) -> Balance:
        """The balance, with what became of the boxes."""
        counts = Counter(self._fates.values())
        order: tuple[Fate, ...] = ("used", "skipped", "left out", "not needed")
        return Balance({fate: counts[fate] for fate in order}, boxes, len(self._fates), self.boxes)
