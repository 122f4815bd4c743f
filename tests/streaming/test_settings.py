"""Sources from the command line and from YAML; mistakes are one line, without the URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vision_lora.errors import ConfigError
from vision_lora.options.camera import CameraConfig
from vision_lora.options.command_line import parse
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.settings import SourceSettings, read_sources


def sources(*entries: Any, **options: Any) -> list[SourceSettings]:
    return read_sources(CameraConfig(model="m", source=list(entries), **options))


def test_names_come_from_addresses_and_are_never_double() -> None:
    given = sources(
        "rtsp://u:p@line3/a", "rtsp://u:p@line3/b", "0", "clips/belt 1.mp4", "line3.mp4", {"url": "7", "name": "roof"}
    )
    assert [source.name for source in given] == ["line3", "line3-2", "camera-0", "belt-1", "line3-3", "roof"]
    given = sources("/dev/video0", "/dev/v4l/by-id/usb-cam-video-index0", "srt://:9000?mode=listener", "rtmp://hall/a")
    assert [source.name for source in given] == ["video0", "usb-cam-video-index0", "source", "hall"]


def test_the_same_from_words_and_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(
        "model: yolo11n.pt\nserve: 8080\nsource:\n"
        "- rtsp://u:p@line1/s\n"
        "- {url: 0, name: press, adapter: a/press.safetensors, mode: defects, confidence: 0.4,"
        " thresholds: {dent: 0.6}, zones: {belt: [[0, 0], [1, 0], [1, 1]]}}\n"
    )
    config = parse(
        CameraConfig, "camera", ["--config", str(file), "--source", "clip.mp4", "--adapter", "line.safetensors"]
    )
    line, press, clip = read_sources(config)
    assert (config.serve, line.name, line.choice) == (8080, "line1", Choice("line", "defects", None))
    assert (press.name, press.address.kind) == ("press", "usb")
    assert press.choice == Choice("press", "defects", 0.4, {"dent": 0.6})
    assert press.adapter == Path("a/press.safetensors")
    assert press.zones == {"belt": [[0, 0], [1, 0], [1, 1]]}
    assert (clip.name, clip.address.live) == ("clip", False)
    words = ["--source", "rtsp://u:p@line1/s", "--source=clip.mp4", "--model", "yolo11n.pt"]
    assert [source.name for source in read_sources(parse(CameraConfig, "camera", words))] == ["line1", "clip"]


@pytest.mark.parametrize(
    ("options", "entry", "mode"),
    [
        ({}, {}, "general"),
        ({"adapter": "a.safetensors"}, {}, "defects"),
        ({}, {"adapter": "a.safetensors"}, "defects"),
        ({"mode": "both"}, {"adapter": "a.safetensors"}, "both"),
        ({"mode": "both"}, {"adapter": "a.safetensors", "mode": "general"}, "general"),
    ],
)
def test_a_source_is_watched_for_its_adapters_classes(
    options: dict[str, Any], entry: dict[str, Any], mode: str
) -> None:
    (source,) = sources({"url": "0", **entry}, **options)
    assert source.choice.mode == mode


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a"}, "source 2: no url"),
        ({"url": "0", "colour": 1}, "source 2: unknown key 'colour'; expected url, name"),
        ({"url": "0", "name": "a/b"}, "source 2: name 'a/b'"),
        ({"url": "0", "name": "../up"}, "source 2: name '../up'"),
        ({"url": "0", "name": "first"}, "source 2: name 'first': another source has it"),
        ({"url": "0", "mode": "all"}, "source 2: mode 'all'"),
        ({"url": "0", "mode": "defects"}, "source 2: mode defects: expected an adapter"),
        ({"url": "0", "confidence": 2}, "source 2: confidence: 2"),
        ({"url": "0", "thresholds": [1]}, "source 2: thresholds"),
        ({"url": "0", "zones": {"belt": [[0, 0], [1, 1]]}}, "source 2: zone 'belt': expected three or more corners"),
        ({"url": "0", "zones": {"belt": [[0, 0], [640, 0], [1, 1]]}}, "source 2: zone 'belt'"),
        ({"url": "0", "zones": [[0, 0]]}, "source 2: zones"),
        ({"url": "0", "adapter": 3}, "source 2: adapter: expected text"),
    ],
)
def test_mistakes_in_an_entry(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sources({"url": "0", "name": "first"}, entry)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": None}, "--source"),
        ({"min_frames": 1}, "--min-frames 1"),
        ({"timeout": 0}, "--timeout 0"),
        ({"max_backoff": 0}, "--max-backoff 0"),
        ({"freeze": 0}, "--freeze 0"),
        ({"keep_gb": 0}, "--keep-gb 0"),
        ({"serve": 70000}, "--serve 70000"),
        ({"confidence": 0}, "--confidence 0"),
        ({"model": None}, "--model"),
    ],
)
def test_mistakes_in_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CameraConfig(**{"model": "m", "source": ["0"], **options})


def test_no_mistake_repeats_a_password(tmp_path: Path) -> None:
    from vision_lora.camera import main

    secret = "rtsp://user:geheim@10.0.0.3/s"
    file = tmp_path / "plant.yaml"
    file.write_text(f"model: m\nsource: {secret}\n")
    for words in (
        ["--config", str(file)],
        ["--source", secret, "--sauce", secret],
        ["--source", secret, "--model", "m", "--serve", secret],
        ["--source", secret, "--source", f"{{url: '{secret}', mode: x}}", "--model", "m"],
    ):
        assert main(words) == 2


@pytest.fixture(autouse=True)
def _no_password_in_any_output(capfd: pytest.CaptureFixture[str]) -> Any:
    yield
    printed = capfd.readouterr()
    assert "geheim" not in printed.out + printed.err


def test_classes_and_zones_in_yaml_are_called_as_they_stand_there(tmp_path: Path) -> None:
    """`no: 0.5` was the threshold of a class `False`, which nothing has: the class kept the threshold of all."""
    file = tmp_path / "plant.yaml"
    file.write_text(
        "model: m\nsource:\n- {url: a.mp4, name: on, thresholds: {no: 0.5, 010: 0.6, null: 0.7, 1:30: 0.8},"
        " zones: {off: [[0, 0], [1, 0], [1, 1]]}}\n"
    )
    (source,) = read_sources(parse(CameraConfig, "camera", ["--config", str(file)]))
    assert source.name == "on"
    assert source.choice.thresholds == {"no": 0.5, "010": 0.6, "null": 0.7, "1:30": 0.8}
    assert list(source.zones) == ["off"]
    file.write_text("model: m\nsource:\n- {url: a.mp4, thresholds: {dent: 0.5, dent: 0.6}}\n")
    with pytest.raises(ConfigError, match="line 3: the key 'dent' stands twice"):
        parse(CameraConfig, "camera", ["--config", str(file)])
