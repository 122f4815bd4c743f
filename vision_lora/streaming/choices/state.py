"""What was chosen on the page outlives the process, until the configuration itself says something else."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_lora.errors import ConfigError, OutputError
from vision_lora.streaming.choices.choice import Choice
from vision_lora.system.outputs import write_whole

log = logging.getLogger(__name__)


class StateFile:
    """Remembers each source's choice beside the one that was configured.

    Args:
        path: a small JSON file, replaced whole; None remembers nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}
        if path is not None and path.is_file():
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                log.warning("%s: not readable, so the configuration counts (%s)", path, error)
                return
            if isinstance(rows, dict):
                self._rows = rows

    def recall(self, source: str, configured: Choice) -> Choice:
        """What was chosen for a source the last time, if it was configured as it is now; else what is configured."""
        row = self._rows.get(source)
        if not isinstance(row, dict) or row.get("configured") != configured.as_dict():
            return configured
        try:
            return Choice(**row["chosen"])
        except (KeyError, TypeError, ConfigError):
            log.warning("%s: the choice for %s is broken, so the configuration counts", self.path, source)
            return configured

    def remember(self, choices: Mapping[str, tuple[Choice, Choice]]) -> None:
        """Write down the configured and the present choice of every source."""
        self._rows = {
            name: {"configured": configured.as_dict(), "chosen": chosen.as_dict()}
            for name, (configured, chosen) in choices.items()
        }
        if self.path is not None:
            try:
                write_whole(self.path, json.dumps(self._rows).encode())
            except OutputError as error:  # the choice holds, as long as this process runs
                log.error("%s", error)
