"""From the options of `camera` to its sources: names, addresses, what each is watched with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from vision_lora.errors import ConfigError
from vision_lora.options.camera import CameraConfig, SourceConfig
from vision_lora.pictures.detections import Mode, default_mode
from vision_lora.streaming.alarms.rules import Zone
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.choices.registry import AdapterRegistry
from vision_lora.streaming.sources.address import Address, host, read_address
from vision_lora.streaming.sources.several import expand, unique

_NAME = re.compile(r"[\w][\w.-]{0,63}")


@dataclass(frozen=True)
class SourceSettings:
    """One source.

    Args:
        name: letters, digits, `_`, `-` and `.`: it becomes part of file names.
        address: where its pictures come from.
        adapter: adapter file, or None.
        choice: what it is watched with in the beginning.
        zones: see `Rules`.
    """

    name: str
    address: Address
    adapter: Path | None
    choice: Choice
    zones: Mapping[str, Zone]


def read_sources(config: CameraConfig) -> list[SourceSettings]:
    """The sources that the options name.

    Raises:
        ConfigError: an entry is wrong; the message tells which one by its place, never by its URL.
    """
    sources: list[SourceSettings] = []
    for place, entry in _entries(config):
        try:
            given = _entry(entry)
            address = read_address(given.url)
            name = given.name or _free_name(address, [source.name for source in sources])
            if not _NAME.fullmatch(name):
                raise ConfigError(f"name {name!r}: expected letters, digits, `_`, `-` and `.`, 64 at most")
            if name in (source.name for source in sources):
                raise ConfigError(f"name {name!r}: another source has it")
            adapter = given.adapter or config.adapter
            mode = given.mode or config.mode or default_mode(adapter)
            choice = Choice(
                None if adapter is None else AdapterRegistry.name(Path(adapter)),
                mode,
                config.confidence if given.confidence is None else given.confidence,
                given.thresholds or {},
            )
            zones = _zones(given.zones or {})
        except ConfigError as error:
            raise ConfigError(f"source {place}: {error}") from None
        sources.append(SourceSettings(name, address, None if adapter is None else Path(adapter), choice, zones))
    return sources


def _entries(config: CameraConfig) -> Iterator[tuple[int, str | dict[str, Any]]]:
    """The sources as they are given, with the place of each; patterns as the files that they match, no file twice."""
    seen = list[str]()
    for place, entry in enumerate(config.sources, 1):
        if isinstance(entry, str) and not read_address(entry).live:
            for path in unique([*seen, *expand(entry)])[len(seen) :]:
                seen.append(path)
                yield place, path
        else:
            yield place, entry


def _entry(entry: Any) -> SourceConfig:
    if not isinstance(entry, Mapping):
        return SourceConfig(url=str(entry))
    known = {item.name: item for item in fields(SourceConfig)}
    if strange := sorted(str(key) for key in entry if key not in known):
        raise ConfigError(f"unknown key {strange[0]!r}; expected {', '.join(known)}")
    given = {**entry, "url": str(entry.get("url", ""))}
    if not given["url"]:
        raise ConfigError("no url; expected a URL, a camera's number or path, a video or a folder")
    for key in ("name", "adapter", "mode"):
        if not isinstance(given.get(key), (str, type(None))):
            raise ConfigError(f"{key}: expected text")
    if given.get("mode") not in (None, *get_args(Mode)):
        raise ConfigError(f"mode {given['mode']!r}: expected {', '.join(get_args(Mode))}")
    if not isinstance(given.get("thresholds") or {}, Mapping):
        raise ConfigError("thresholds: expected classes with a number each, such as `scratch: 0.5`")
    return SourceConfig(**{**given, "name": given.get("name") or ""})


def _free_name(address: Address, taken: Sequence[str]) -> str:
    """A name from the address: its host, its file, its folder; with a number where that is taken."""
    stem = {
        "network": host(address),
        "usb": f"camera-{address.target}" if address.target.isdecimal() else Path(address.target).name,
        "files": Path(address.target).absolute().stem if address.kind == "files" else "",
    }[address.kind]
    stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:56] or "source"
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _zones(zones: Any) -> dict[str, Zone]:
    if not isinstance(zones, Mapping):
        raise ConfigError("zones: expected a polygon by name, such as `belt: [[0.1, 0.2], [0.9, 0.2], [0.9, 0.9]]`")
    for name, corners in zones.items():
        fine = (
            isinstance(corners, Sequence)
            and len(corners) >= 3
            and all(isinstance(corner, Sequence) and len(corner) == 2 for corner in corners)
            and all(isinstance(value, (int, float)) and 0 <= value <= 1 for corner in corners for value in corner)
        )
        if not fine:
            raise ConfigError(f"zone {name!r}: expected three or more corners [x, y], each 0 to 1")
    return {str(name): corners for name, corners in zones.items()}
