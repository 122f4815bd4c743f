"""Time that a training took, over all attempts of an interrupted run."""

from __future__ import annotations

import time
from pathlib import Path

from vision_lora.comparison.cells.cell import read_json
from vision_lora.system.outputs import write_json


class Clock:
    """Counts seconds; what an attempt did after its last kept epoch is lost with it and does not count.

    Args:
        file: where the attempts are kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before: list[float] = (read_json(file) or {"attempts": []})["attempts"]
        self.started = time.perf_counter()

    def keep(self) -> float:
        """Write down this attempt as far as it is; gives the seconds of all attempts."""
        attempts = [*self.before, time.perf_counter() - self.started]
        write_json(self.file, {"attempts": attempts})
        return sum(attempts)
