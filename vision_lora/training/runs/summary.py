"""What a run gave, when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds, and where the results lie.

    Attributes:
        out: the run's folder.
        result: the adapter, or the trained checkpoint.
        model: the base, as the options of the run call it.
        values: of `summary.json`.
    """

    out: Path
    result: Path
    model: str
    values: dict[str, Any]
