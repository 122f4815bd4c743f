"""Where results go: folders that are never overwritten, files that are never half-written and never another's."""

from __future__ import annotations

import io
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vision_lora.errors import ConfigError, OutputError, reason
from vision_lora.text.names import shown


def new_folder(out: str, *, exist_ok: bool) -> Path:
    """Create the folder for a run's results; where it exists, one with the next free number.

    Examples:
        >>> new_folder("runs/train", exist_ok=False)  # doctest: +SKIP
        PosixPath('runs/train-2')

    Raises:
        ConfigError: the path is a file, cannot be created, or takes no files.
    """
    folder, number = Path(out), 1
    try:
        while True:
            try:
                folder.mkdir(parents=True, exist_ok=exist_ok)
                break
            except FileExistsError:
                if exist_ok:
                    raise
                number += 1
                folder = Path(f"{out}-{number}")
        _try(folder)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(f"--out {out}: cannot create the folder ({reason(error)}); give another one") from error
    return folder


@contextmanager
def results_folder(out: str, *, exist_ok: bool) -> Iterator[Path]:
    """As `new_folder`, and gone again, with the folders above that were made for it, where nothing was written.

    Raises:
        ConfigError: the path is a file, cannot be created, or takes no files.
    """
    there = {above for above in (Path(out), *Path(out).parents) if above.is_dir()}
    folder = new_folder(out, exist_ok=exist_ok)
    try:
        yield folder
    finally:
        for made in (folder, *folder.parents):
            if made in there:
                break
            with suppress(OSError):  # something is in it
                made.rmdir()


def earlier_results(out: str) -> list[Path]:
    """The folders that `new_folder` made, or would make, for the same option: `out`, `out-2`, and so on."""
    folder = Path(out)
    if not folder.parent.is_dir():
        return [folder]
    start = f"{folder.name}-"
    return [folder, *(one for one in folder.parent.iterdir() if one.name.startswith(start) and one.name[-1].isdigit())]


def check_file(
    option: str,
    path: str | None,
    *,
    endings: Sequence[str] = (),
    inputs: Iterable[str | Path | None] = (),
    new_parents: bool = False,
) -> Path | None:
    """The file that an option names, once it is sure that it can be written at the end of long work.

    Args:
        option: its name.
        path: what was given.
        endings: those that the file may have; any where there is none. What ends otherwise is never replaced.
        inputs: what the work reads, which is not replaced either.
        new_parents: whether its folder will be made.

    Raises:
        ConfigError: its folder does not exist or takes no files, or there is something that must not be replaced.
    """
    if path is None:
        return None
    file = Path(path)
    if endings and file.suffix.lower() not in endings:
        raise ConfigError(f"--{option} {path}: expected a file that ends in {' or '.join(endings)}")
    try:
        parent = file.absolute().parent
        while new_parents and not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or (file.exists() and not file.is_file()):
            raise ConfigError(f"--{option} {path}: expected a file in a folder that exists")
        if file.exists():
            _demand_replaceable(option, file, inputs)
        _try(Path(os.path.realpath(file)).parent if file.is_symlink() else parent)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--{option} {path}: cannot be written ({reason(error)}); give another place") from error
    return file


def check_new_folder(option: str, path: str | None) -> Path | None:
    """The folder that an option names, once it is sure that it can be made at the end of long work.

    Raises:
        ConfigError: it holds something already, or the folder above it takes nothing.
    """
    if path is None:
        return None
    folder = Path(path)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"--{option} {path}: already holds something; expected a new folder")
        above = folder.absolute()
        while not above.exists():
            above = above.parent
        _try(above)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--{option} {path}: cannot be made ({reason(error)}); give another place") from error
    return folder


def _demand_replaceable(option: str, file: Path, inputs: Iterable[str | Path | None]) -> None:
    for one in inputs:
        if one is not None and os.path.exists(one) and file.samefile(one):
            raise ConfigError(f"--{option} {file}: it is what the work reads, and would be lost; give another file")
    if not os.access(file, os.W_OK):
        raise ConfigError(f"--{option} {file}: it is there and write-protected; give another file")


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path  # the link stays
    partial = partial_file(target)
    try:
        try:
            partial.write_bytes(data)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{shown(str(path))}: cannot be written ({reason(error)})") from error


def partial_file(path: Path, ending: str = "") -> Path:
    """A name for a file while it is written: in the same folder, of nobody else, and never too long."""
    return path.with_name(f".{uuid.uuid4().hex}.partial{ending}")


def plain(name: str) -> str:
    r"""A name for a file that can be read and typed: `_` for what no character stands for, or one that does something.

    File systems know bytes, not characters: names in an archive made elsewhere need not be UTF-8.

    Examples:
        >>> plain("line\nbreak.png"), plain("\udcfc.png")
        ('line_break.png', '_.png')
    """
    return "".join(letter if letter.isprintable() else "_" for letter in name)


def write_result(path: Path, data: bytes) -> None:
    """Write what long work has found; where there is no place for it, keep it elsewhere.

    Raises:
        OutputError: it cannot be written; says where it was kept.
    """
    try:
        write_whole(path, data)
    except OutputError as error:
        for folder in (tempfile.gettempdir(), os.curdir, os.path.expanduser("~")):
            kept = Path(folder) / f"vision_lora-{uuid.uuid4().hex[:8]}-{plain(path.name)[-60:]}"
            with suppress(OutputError):
                write_whole(kept, data)
                raise_kept = f"{error}; kept as {kept} instead"
                break
        else:
            raise_kept = f"{error}, nor anywhere else"
        raise OutputError(raise_kept) from error


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as `write_result`; bytes of file names that are no characters stand there escaped.

    Raises:
        OutputError: it cannot be written; says where it was kept.
    """
    write_result(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON in ASCII, as `write_result`: also names that are no UTF-8 can be read again, by Python at least.

    Raises:
        OutputError: it cannot be written; says where it was kept.
    """
    write_result(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_torch(path: Path, state: Any) -> None:
    """`torch.save`, whole or not at all: by itself it says of a full disk that a position is unexpected.

    Raises:
        OutputError: it cannot be written.
    """
    import torch  # late: it takes seconds

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getbuffer())


def _try(folder: Path) -> None:
    """Whether a folder takes files.

    Raises:
        OSError: it does not.
    """
    trial = partial_file(folder / "trial")
    try:
        trial.write_bytes(b"0")  # an empty file has room on a full disk as well
    finally:
        trial.unlink(missing_ok=True)
