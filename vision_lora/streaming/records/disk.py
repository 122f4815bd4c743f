"""A folder that never grows beyond its share of the disk."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from vision_lora.errors import ConfigError
from vision_lora.streaming.trouble import Trouble, words


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
        self._made: list[Path] = []
        try:
            self._make(folder)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
            own = re.compile(pattern)
            files = sorted(file for file in folder.iterdir() if own.fullmatch(file.name) and file.is_file())
            self._sizes = {file: file.stat().st_size for file in files}
        except OSError as error:
            self.undo()
            raise ConfigError(f"--{option} {folder}: cannot be written ({words(error)}); give another one") from None
        self.folder = folder
        self.limit = limit
        self._total = sum(self._sizes.values())
        self._deleting = Trouble(folder)

    def added(self, file: Path) -> None:
        """Count a file that has been written, and delete the oldest ones that there is no room for any more."""
        size = file.stat().st_size
        self._total += size - self._sizes.get(file, 0)
        self._sizes[file] = size
        for old in list(self._sizes):
            if self._total <= self.limit or old == file:
                break
            try:
                old.unlink(missing_ok=True)
            except OSError as error:
                self._deleting.told(f"old files cannot be deleted ({words(error)}): it outgrows its share")
                return
            self._total -= self._sizes.pop(old)
        self._deleting.over()

    def undo(self) -> None:
        """Delete the folders that were made for it, as far as they are empty."""
        for made in reversed(self._made):
            with suppress(OSError):
                made.rmdir()

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            self._made.append(folder)
