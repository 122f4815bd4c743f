"""Files of the user's: only regular ones, only up to a size, and in words where not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vision_lora.errors import DataError
from vision_lora.system.files import irregular, read_bytes, read_text

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="special files are Unix's")


def test_words_for_everything_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "stale").symlink_to("gone")
    (tmp_path / "sound").symlink_to("file")
    told = {name: irregular(tmp_path / name) for name in ("file", "sound", "", "pipe", "circle", "stale", "gone")}
    assert told["file"] == told["sound"] == ""
    assert told[""] == "a folder"
    assert told["pipe"] == "a named pipe (FIFO)"
    assert "symbolic links" in told["circle"]
    assert told["stale"].startswith("a link to nothing")
    assert told["gone"] == "no such file"
    assert irregular(Path("/dev/zero")) == "a device"
    assert "too long" in irregular(tmp_path / ("x" * 5000))
    assert "null" in irregular(Path("a\0b"))


def test_up_to_a_size(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfabc")
    assert read_bytes(file, 6) == b"\xef\xbb\xbfabc"
    assert read_text(file, 6) == "abc"
    with pytest.raises(DataError, match=r"a\.txt: 6 bytes; expected at most 5"):
        read_bytes(file, 5)
    with pytest.raises(DataError, match=r"/dev/zero: a device; expected a file"):
        read_bytes(Path("/dev/zero"), 5)


def test_text_of_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("ü".encode("latin-1"))
    with pytest.raises(DataError, match=r"no text in UTF-8 \(byte 0\); save it as UTF-8"):
        read_text(file, 5)
