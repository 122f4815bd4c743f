"""A folder that never grows beyond its share of the disk."""

from __future__ import annotations

import re
from pathlib import Path

from vision_lora.errors import ConfigError


class BoundedFolder:
    """Makes room for new files by deleting the oldest of its own kind; other files in the folder are left alone.

    Args:
        option: the option that names it, for the error.
        folder: made where it is missing.
        pattern: regular expression of the names of its own files, which sort by age.
        limit: bytes that they may take together.

    Raises:
        ConfigError: it cannot be made.
    """

    def __init__(self, option: str, folder: Path, pattern: str, limit: float) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
        except OSError as error:
            raise ConfigError(f"--{option} {folder}: cannot be written ({error.strerror}); give another one") from None
        self.folder = folder
        self.limit = limit
        own = re.compile(pattern)
        files = sorted(file for file in folder.iterdir() if own.fullmatch(file.name))
        self._sizes = {file: file.stat().st_size for file in files}
        self._total = sum(self._sizes.values())

    def added(self, file: Path) -> None:
        """Count a file that has been written, and delete the oldest ones that there is no room for any more."""
        self._total += file.stat().st_size - self._sizes.get(file, 0)
        self._sizes[file] = file.stat().st_size
        for old in list(self._sizes):
            if self._total <= self.limit or old == file:
                break
            self._total -= self._sizes.pop(old)
            old.unlink(missing_ok=True)
