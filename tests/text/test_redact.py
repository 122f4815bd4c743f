"""What is hidden in texts that may hold a URL."""

from __future__ import annotations

import pytest

from vision_lora.text.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://a:b@h/s", "rtsp://***@h/s"),
        ("rtsp://a:p@ss/w?rd@h/s", "rtsp://***@h/s"),
        ("http://h/video?user=a&pwd=geheim", "http://h/video?***"),
        ("srt://h:9000?passphrase=geheim", "srt://h:9000?***"),
        ("rtmp://a:b@h/live?key=geheim", "rtmp://***@h/live?***"),
        ("'rtsp://a:b@h/s' and http://c:d@e", "'rtsp://***@h/s' and http://***@e"),
        ("rtsp://h/s", "rtsp://h/s"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown
