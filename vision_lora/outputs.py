"""Where results go: folders that are never overwritten, files that are never half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_lora.errors import ConfigError


def new_folder(out: str, *, exist_ok: bool) -> Path:
    """Create the folder for a run's results; where it exists, one with the next free number.

    Examples:
        >>> new_folder("runs/train", exist_ok=False)  # doctest: +SKIP
        PosixPath('runs/train-2')

    Raises:
        ConfigError: the path is a file, or cannot be created.
    """
    folder, number = Path(out), 1
    try:
        while not exist_ok and folder.exists():
            number += 1
            folder = Path(f"{out}-{number}")
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot create the folder ({error.strerror}); give another one") from error
    return folder


def check_file(option: str, path: str | None) -> Path | None:
    """The file that an option names, once it is sure that it can be written at the end of long work.

    Raises:
        ConfigError: its folder does not exist, or it is a folder itself.
    """
    if path is None:
        return None
    file = Path(path)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise ConfigError(f"--{option} {path}: expected a file in a folder that exists")
    return file


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
