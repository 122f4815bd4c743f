"""The state of a run: all that it takes to go on as if it had never been interrupted, and what it is the state of."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from vision_lora.datasets.sample import Sample
from vision_lora.detectors.losses.share import several
from vision_lora.errors import ConfigError, OutputError, TrainingError
from vision_lora.system.outputs import write_torch

STATE = "state.pt"  # its file in the run's folder
ALWAYS = {"identity", "layers", "batch", "race"}  # in the file, beside what training keeps


class State:
    """A run's state in its file.

    Args:
        file: where it is kept.
        identity: what the run is of, by what the user calls it: data, classes, base, versions.
        layers: that were chosen to be adapted within a budget; by time, another choice would be another run.
        batch: pictures in a step; another number, which a device may have memory for by now, would be another run.
        read: go on from what is there.

    Attributes:
        values: what was saved; None in a run that starts.
        race: where the race of a run with `--rank auto` stands, see `vision_lora.training.choices.race`: `done`, the values of
            the candidates that are through, `chosen`, the winner's index, and `reason`.

    Raises:
        ConfigError: the file is broken, or is of another run: refused before anything of it is used.
    """

    def __init__(
        self,
        file: Path,
        identity: Mapping[str, str],
        layers: list[str] | None = None,
        batch: int | None = None,
        *,
        read: bool = False,
    ) -> None:
        self.file = file
        self.identity = dict(identity)
        self.values: dict[str, Any] | None = None
        self.layers, self.batch = layers, batch
        self.race: dict[str, Any] = {"done": [], "chosen": None, "reason": ""}
        if read:
            self.values = values = _read(file)
            self.layers, self.batch, self.race = values["layers"], values["batch"], values["race"]
            _compare(file.parent, values["identity"], self.identity)

    def save(self, values: Mapping[str, Any]) -> None:
        """Write the state, whole or not at all: a run that is killed meanwhile keeps the one before.

        Raises:
            TrainingError: it cannot be written; the one before is still there.
        """
        try:
            known = {"identity": self.identity, "layers": self.layers, "batch": self.batch, "race": self.race}
            write_torch(self.file, {**values, **known})
        except OutputError as error:
            raise TrainingError(f"{error}; make room, then go on with --resume") from error


def _compare(folder: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for name, value in now.items():
        if before.get(name) != value:
            raise ConfigError(
                f"{folder}: the run there was started with other {name} ({before.get(name, 'none')}; now {value}): put "
                "back what it was, or start another run"
            )


def random_states() -> list[dict[str, torch.Tensor]]:
    """Where torch's random numbers are, in each process."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        own["cuda"] = torch.cuda.get_rng_state()
    if not several():
        return [own]
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, own)
    return every


def set_random_state(states: list[dict[str, torch.Tensor]]) -> None:
    """Go on with the random numbers where this process was."""
    own = states[dist.get_rank() if several() else 0]
    torch.set_rng_state(own["cpu"])
    if "cuda" in own and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"])


def fingerprint(samples: Iterable[Sample]) -> str:
    """Short name of pictures and their boxes, in their order; where they lie and when they were written is no part.

    Examples:
        >>> fingerprint([]) == fingerprint([])
        True
    """
    whole = hashlib.sha256()
    known: dict[Path, bytes] = {}  # tiles share a picture
    for sample in samples:
        if sample.path not in known:
            known[sample.path] = file_digest(sample.path)
        for part in (
            sample.path.name.encode("utf-8", "surrogateescape"),
            known[sample.path],
            repr(sample.window).encode(),
        ):
            whole.update(len(part).to_bytes(8, "little") + part)
        for array in (sample.boxes, sample.classes, sample.ignored, sample.ignored_classes):
            whole.update(array.tobytes())
    return whole.hexdigest()[:12]


def fingerprint_of(text: str) -> str:
    """Short name of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path) -> bytes:
    """Digest of what a file holds; of nothing where it cannot be read, which is told elsewhere."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return b""
    return digest.digest()


def _read(file: Path) -> dict[str, Any]:
    try:
        values = torch.load(file, map_location="cpu", weights_only=True)
        whole = isinstance(values, dict) and isinstance(values["identity"], dict) and values.keys() >= ALWAYS
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{file}: cannot be read, or is of an older version; start the run again") from error
    if not whole:
        raise ConfigError(f"{file}: not the state of a run; start the run again")
    return values  # type: ignore[no-any-return]
