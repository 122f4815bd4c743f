"""Options of the camera, and of each of its sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_lora.errors import ConfigError
from vision_lora.options.option import demand, option
from vision_lora.options.verbs import MODE, Using
from vision_lora.pictures.detections import Mode


@dataclass(frozen=True)
class CameraConfig(Using):
    """Watch cameras until told to stop: live page, alarms, recordings; ends by itself where all sources are files."""

    source: list[str | dict[str, Any]] | None = option(
        None,
        "URL (rtsp, rtmp, srt, http, udp), number or path (/dev/...) of a USB camera, video, or folder of pictures "
        "(required); may be repeated. In a YAML file also a mapping: url, name, adapter, mode, confidence, thresholds, "
        "zones",
        repeated=True,
    )
    mode: Mode | None = option(None, MODE)
    confidence: float = option(0.25, "lowest score that counts, above 0 to 1")
    iou: float = option(0.7, "overlap above which the weaker of two boxes of a class goes, 0 to 1")
    min_frames: int = option(3, "pictures that have to show a defect before it is an alarm, 2 or more")
    timeout: float = option(5.0, "seconds without a picture after which a camera counts as lost")
    max_backoff: float = option(5.0, "longest wait before a lost camera is tried again, seconds")
    freeze: float = option(10.0, "seconds with the same picture, byte for byte, after which it is reported as frozen")
    adapters: str | None = option(None, "folder of adapters that can be switched to on the page")
    events: str | None = option(None, "file for events as JSON lines; beside it, what was chosen on the page is kept")
    crops: str | None = option(None, "folder for a close-up of each defect")
    segments: str | None = option(None, "folder for annotated video, MP4 files of a minute")
    keep_gb: float = option(10.0, "disk that close-ups, and segments, may take, GB each; the oldest go")
    serve: int | None = option(None, "port of the page, of /metrics and of /healthz; without it there is no page")
    host: str = option("127.0.0.1", "address that the page listens on; any but this machine's own demands --token")
    token: str | None = option(None, "secret that the page asks for; the variable VISION_LORA_TOKEN hides it better")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source:
            raise ConfigError("--source (nothing): expected a URL, a camera's number or path, a video or a folder")
        demand(self.confidence > 0, "confidence", self.confidence, "above 0 to 1")
        demand(self.min_frames >= 2, "min_frames", self.min_frames, "2 or more")
        demand(self.timeout > 0, "timeout", self.timeout, "more than 0, in seconds")
        demand(self.max_backoff > 0, "max_backoff", self.max_backoff, "more than 0, in seconds")
        demand(self.freeze > 0, "freeze", self.freeze, "more than 0, in seconds")
        demand(self.keep_gb > 0, "keep_gb", self.keep_gb, "more than 0")
        demand(self.serve is None or 0 <= self.serve <= 65535, "serve", self.serve, "a port, 0 to 65535")


@dataclass(frozen=True)
class SourceConfig:
    """One source of `camera`, as an entry of `source` in a YAML file; what is left out is as for all."""

    url: str = option("", "URL, number or path of a USB camera, video, or folder of pictures (required)")
    name: str = option("", "how it is called on the page and in events; default: host, file or folder")
    adapter: str | None = option(None, "adapter file")
    mode: Mode | None = option(None, "which classes: general, defects, both")
    confidence: float | None = option(None, "lowest score that counts")
    thresholds: dict[str, float] | None = option(None, "lowest score that counts, for single classes")
    zones: dict[str, list[list[float]]] | None = option(
        None, "polygons in which a defect counts, by name: corners as shares of the picture's width and height"
    )
