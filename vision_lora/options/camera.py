"""Options of the camera, and of each of its sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_lora.options import common
from vision_lora.options.detect import Using
from vision_lora.options.option import Options, demand, option
from vision_lora.pictures.detections import Mode


def _seconds(default: float, text: str) -> Any:
    return option(default, text, "connection", more_than=0, unit="seconds")


@dataclass(frozen=True)
class CameraConfig(Using):
    """Watch cameras until told to stop: live page, alarms, recordings; ends by itself where all sources are files."""

    source: list[str | dict[str, Any]] | str | None = option(
        None,
        "URLs (rtsp, rtmp, srt, http, udp), numbers or paths (/dev/...) of USB cameras, videos, folders of pictures, "
        "or patterns such as 'clips/*.mp4', each match a source of its own. In a YAML file also mappings: url, name, "
        "adapter, mode, confidence, thresholds, zones",
        required="a URL, a camera's number or path, a video or a folder",
        repeated=True,
    )
    mode: Mode | None = option(None, common.MODE)
    confidence: float | None = option(None, common.CONFIDENCE, "detection", more_than=0, at_most=1)
    iou: float = common.iou()
    device: str = option("auto", common.DEVICE, "speed")
    min_frames: int = option(3, "pictures that have to show a defect before it is an alarm", "alarms", at_least=2)
    timeout: float = _seconds(5.0, "without a picture for as long, a camera counts as lost")
    max_backoff: float = _seconds(5.0, "longest wait before a lost camera is tried again")
    freeze: float = _seconds(10.0, "with the same picture, byte for byte, for as long, it is reported as frozen")
    serve: int | None = option(
        None,
        "port of the page, of /metrics and of /healthz; without it there is no page",
        "page",
        at_least=0,
        at_most=65535,
    )
    host: str = option(
        "127.0.0.1", "address that the page listens on; any but this machine's own demands --token", "page"
    )
    token: str | None = option(
        None, "secret that the page asks for; the variable VISION_LORA_TOKEN hides it better", "page"
    )
    adapters: str | None = option(None, "folder of adapters that can be switched to on the page", "page")
    events: str | None = option(
        None, "file for events as JSON lines; beside it, what was chosen on the page is kept", "output"
    )
    crops: str | None = option(None, "folder for a close-up of each defect", "output")
    segments: str | None = option(None, "folder for annotated video, MP4 files of a minute", "output")
    collect: str | None = option(
        None,
        "folder for pictures to label next, for propose: where the detector was unsure, where a defect was not seen in "
        "between, and a random one a minute; at most one a second of each source",
        "output",
    )
    keep_gb: float = option(
        10.0,
        "disk that close-ups, segments, and collected pictures may take, GB each; the oldest go",
        "output",
        more_than=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Either would delete the other's pictures as its own oldest ones.
        shared = None not in (self.crops, self.collect) and Path(self.crops or "") == Path(self.collect or "")
        demand(not shared, "collect", self.collect, "another folder than that of --crops")

    @property
    def sources(self) -> list[str | dict[str, Any]]:
        """All that is to be watched, in the order given."""
        return [self.source] if isinstance(self.source, str) else self.source or []


@dataclass(frozen=True)
class SourceConfig(Options):
    """One source of `camera`, as an entry of `source` in a YAML file; what is left out is as for all."""

    url: str = option("", "URL, number or path of a USB camera, video, or folder of pictures")
    name: str = option("", "how it is called on the page and in events; default: host, file or folder")
    adapter: str | None = option(None, "adapter file")
    mode: Mode | None = option(None, "which classes: general, defects, both")
    confidence: float | None = option(
        None, "lowest score that counts", unlimited="`Choice` checks it, as it does what the page gives"
    )
    thresholds: dict[str, float] | None = option(None, "lowest score that counts, for single classes")
    zones: dict[str, list[list[float]]] | None = option(
        None, "polygons in which a defect counts, by name: corners as shares of the picture's width and height"
    )
