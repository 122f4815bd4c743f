"""Registry: the adapters that a camera may be switched to, by name: those of its configuration, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vision_lora.errors import AdapterError, ConfigError
from vision_lora.streaming.incoming import shown
from vision_lora.streaming.trouble import Trouble, words

SUFFIX = ".safetensors"


class AdapterRegistry:
    """Names for adapter files: `line3` for `line3.safetensors`.

    Args:
        folder: whose adapters may be chosen, also those that come later; None for no folder.
        given: adapter files that the configuration names, wherever they are.

    Raises:
        ConfigError: no such folder, or two files of one name.
    """

    def __init__(self, folder: Path | None, given: Iterable[Path] = ()) -> None:
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"--adapters {folder}: no such folder")
        self.folder = folder
        self._trouble = Trouble(folder)
        self._given: dict[str, Path] = {}
        for file in given:
            other = self._given.setdefault(self.name(file), file)
            if other.resolve() != file.resolve():
                raise ConfigError(f"{other} and {file}: two adapters of one name; rename one")
        for name, file in self._in_folder().items():
            if name in self._given and self._given[name].resolve() != file.resolve():
                raise ConfigError(f"{self._given[name]} and {file}: two adapters of one name; rename one")

    @staticmethod
    def name(file: Path) -> str:
        """The name of an adapter's file."""
        return file.name.removesuffix(SUFFIX)

    def names(self) -> list[str]:
        """What can be chosen now."""
        return sorted(self._given.keys() | self._in_folder().keys())

    def file(self, name: str) -> Path:
        """The file of a name.

        Raises:
            AdapterError: there is none of this name.
        """
        file = self._given.get(name) or self._in_folder().get(name)
        if file is None:
            raise AdapterError(f"no adapter {shown(name)} here (there are: {', '.join(self.names()) or 'none'})")
        return file

    def _in_folder(self) -> dict[str, Path]:
        """Adapters in the folder; a link that leads out of it is none."""
        if self.folder is None:
            return {}
        try:
            root = self.folder.resolve()
            files = {
                self.name(file): file
                for file in self.folder.iterdir()
                # A name that cannot be printed cannot be chosen either, nor told to a page.
                if file.name.endswith(SUFFIX) and file.name.isprintable() and file.is_file()
            }
            files = {name: file for name, file in files.items() if file.resolve().is_relative_to(root)}
        except OSError as error:  # taken away, or to be read no longer
            self._trouble.told(f"adapters cannot be listed ({words(error)})")
            return {}
        self._trouble.over()
        return files
