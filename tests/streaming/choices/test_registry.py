"""Only adapters that the configuration offers have a name."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from vision_lora.adapters.file import load_adapter
from vision_lora.errors import AdapterError, ConfigError
from vision_lora.streaming.choices.registry import AdapterRegistry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    (folder / "old").mkdir(parents=True)
    for name in ("line1.safetensors", "line2.safetensors", "notes.txt", "old/line0.safetensors"):
        (folder / name).touch()
    (tmp_path / "secret.safetensors").touch()
    (folder / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (folder / "alias.safetensors").symlink_to("line1.safetensors")
    return folder


def test_names_are_those_of_the_folder(folder: Path) -> None:
    registry = AdapterRegistry(folder)
    assert registry.names() == ["alias", "line1", "line2"]
    assert registry.file("line1") == folder / "line1.safetensors"
    (folder / "line3.safetensors").touch()
    assert "line3" in registry.names()


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "link",
        "old/line0",
        "/etc/passwd",
        "line1.safetensors",
        "notes.txt",
        "",
        "..",
        "line1\0",
        "%2e%2e/secret",
    ],
)
def test_nothing_outside_of_the_folder_has_a_name(folder: Path, name: str) -> None:
    with pytest.raises(AdapterError, match="no adapter"):
        AdapterRegistry(folder).file(name)


def test_files_that_are_given_have_names_too(folder: Path, tmp_path: Path) -> None:
    registry = AdapterRegistry(None, [tmp_path / "secret.safetensors"])
    assert registry.names() == ["secret"]
    assert AdapterRegistry(folder, [folder / "line1.safetensors"]).names() == ["alias", "line1", "line2"]


def test_one_name_for_two_files_is_a_mistake(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "line1.safetensors"
    other.touch()
    with pytest.raises(ConfigError, match="two adapters of one name"):
        AdapterRegistry(folder, [other])
    with pytest.raises(ConfigError, match="two adapters of one name"):
        AdapterRegistry(None, [other, folder / "line1.safetensors"])
    with pytest.raises(ConfigError, match="no such folder"):
        AdapterRegistry(tmp_path / "gone")


def test_whatever_lies_in_the_folder_the_registry_goes_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "folder.safetensors").mkdir()
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    (folder / "gone.safetensors").symlink_to("nowhere")
    (folder / "device.safetensors").symlink_to("/dev/zero")
    for odd in (b"caf\xe9", b"\x1b[2J", b"two\nlines"):
        (folder / os.fsdecode(odd + b".safetensors")).touch()
    with (folder / "huge.safetensors").open("wb") as file:
        file.truncate(10_000_000_000)
    with (folder / "hollow.safetensors").open("wb") as file:
        file.truncate(1_000_000_000)
    registry = AdapterRegistry(folder)
    names = ["alias", "hollow", "huge", "line1", "line2"]
    assert registry.names() == names
    json.dumps(registry.names()).encode()
    tracemalloc.start()
    for name in names:  # line1 and line2 are empty
        with pytest.raises(AdapterError) as refused:
            load_adapter(registry.file(name))
        assert len(str(refused.value).splitlines()) == 1
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    shutil.rmtree(folder)
    for _ in range(3):
        assert registry.names() == []
    assert len(caplog.records) == 1
    folder.mkdir()
    (folder / "line9.safetensors").touch()
    assert registry.names() == ["line9"]
    assert "well again" in caplog.text
