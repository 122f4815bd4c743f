"""The folder of a run: made, locked, and found again by a run that goes on."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vision_lora.errors import ConfigError
from vision_lora.options.train import TrainConfig
from vision_lora.system.outputs import new_folder, write_json
from vision_lora.training.runs.state import STATE

_ABOUT = ("resume", "out", "exist_ok", "yes", "verbose")  # options that change nothing of what a run learns


class RunFolder:
    """Where a run writes; nobody else does until it is closed.

    Attributes:
        config: the run's options; those that were written down where it goes on.
        path: the folder; None where no interrupted run is to be gone on with, until `begin` has made it.
        resumed: whether the user has asked to go on.
    """

    def __init__(self, config: TrainConfig) -> None:
        """Find the interrupted run that `--resume`, or `--exist-ok` with the same options, goes on with.

        Raises:
            ConfigError: --resume and no run there that these options could go on with, or one that still goes.
        """
        self.config = config
        self.path: Path | None = None
        self._lock: IO[str] | None = None
        if config.resume is not None:
            folder = Path(config.resume)
            _interrupted(config, folder)
            self._take(folder)
            try:
                self.config = _resumed(config, folder)
            except ConfigError:
                self.close()
                raise
        elif config.exist_ok and _same(config, Path(config.out)):
            self._take(Path(config.out))
        self.resumed = config.resume is not None

    @property
    def state(self) -> Path:
        """File of the run's state."""
        assert self.path is not None, "the folder is made before the first step"
        return self.path / STATE

    def begin(self, *, anew: bool) -> Path:
        """Make the folder of a run that starts, and write its options down.

        Args:
            anew: do not go on with what is there.

        Raises:
            ConfigError: it cannot be made or written into, or another run does.
        """
        if self.path is None:
            self._take(new_folder(self.config.out, exist_ok=self.config.exist_ok))
            anew = True
        assert self.path is not None
        if anew:
            self.state.unlink(missing_ok=True)
            write_json(self.path / "config.json", _options(self.config))
        return self.path

    def close(self) -> None:
        """Let others in."""
        if self._lock is not None:
            Path(self._lock.name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, folder: Path) -> None:
        self._lock = _locked(folder)
        self.path = folder


def resume_command(folder: Path) -> str:
    """What a user types to go on with a run."""
    return f"python -m vision_lora.train --resume {shlex.quote(str(folder))}"


def _locked(folder: Path) -> IO[str]:
    """An open file that holds the folder's lock; one of POSIX, which ends with this process and is not inherited."""
    while True:
        try:
            file = (folder / "run.lock").open("a+")
        except OSError as error:
            raise ConfigError(f"{folder}: cannot write there ({error.strerror}); give another folder") from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                other = file.read().strip() or "unknown"
                file.close()
                raise ConfigError(
                    f"{folder}: another run writes there (process {other}); wait for its end, or give another folder"
                ) from error
            # A file system without locks: the run goes on without.
        if not _there(file):  # whoever had it removed the file meanwhile
            file.close()
            continue
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file


def _there(file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.stat(file.name), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _interrupted(config: TrainConfig, folder: Path) -> None:
    """See that there is a run to go on with."""
    if not (folder / "config.json").is_file() or not (folder / STATE).is_file():
        ended = (folder / "summary.json").is_file() and (folder / "config.json").is_file()
        found = "the run there has come to its end" if ended else "no interrupted run there"
        raise ConfigError(f"--resume {config.resume}: {found}; expected a folder with config.json and state.pt")


def _resumed(config: TrainConfig, folder: Path) -> TrainConfig:
    """The options that an interrupted run was started with."""
    option = f"--resume {config.resume}"
    values = _written(folder / "config.json")
    known = {item.name for item in fields(TrainConfig)}
    if unknown := sorted(values.keys() - known):
        raise ConfigError(
            f"{option}: config.json has options that this version does not know ({', '.join(unknown)}): it was written "
            "by another one; finish the run with that, or start it again"
        )
    try:
        before = replace(TrainConfig(**values), resume=None)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{option}: config.json holds values that are no options ({error}); start again") from error
    for item in fields(TrainConfig):
        given = getattr(config, item.name)
        if item.name not in _ABOUT and given not in (item.default, getattr(before, item.name)):
            raise ConfigError(
                f"--{item.name.replace('_', '-')} {given}: the run in {folder} was started with "
                f"{getattr(before, item.name)}, and a run goes on with the options that it was started with; leave it "
                "out, or start another run"
            )
    return before


def _written(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); start the run again") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected an object of options; start the run again")
    return values


def _same(config: TrainConfig, folder: Path) -> bool:
    """Whether an interrupted run of these options lies in a folder, however the folder is named."""
    if not (folder / STATE).exists() or not (folder / "config.json").is_file():
        return False
    try:
        before = _written(folder / "config.json")
    except ConfigError:
        return False
    options = _options(config)
    return {**before, **{name: options[name] for name in _ABOUT}} == options


def _options(config: TrainConfig) -> dict[str, Any]:
    return {item.name: getattr(config, item.name) for item in fields(config)}
