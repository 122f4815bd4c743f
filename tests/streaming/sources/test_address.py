"""Sources are told apart, and no password leaves this room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_lora.streaming.sources.address import host, read_address
from vision_lora.text.redact import redact

SECRETS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=6, max_size=20)


@pytest.mark.parametrize(
    ("source", "kind", "live"),
    [
        ("rtsp://10.0.0.3/stream", "network", True),
        ("RTSPS://10.0.0.3/stream", "network", True),
        ("http://cam.local:81/video", "network", True),
        ("0", "usb", True),
        ("12", "usb", True),
        ("/dev/video0", "usb", True),
        ("/dev/video12", "usb", True),
        ("/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0", "usb", True),
        ("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0", "usb", True),
        ("/dev/camera_left", "usb", True),  # a name that udev was told to give
        ("/dev/shm/clip.mp4", "files", False),
        ("/device/video0", "files", False),
        ("rtmp://cam/live", "network", True),
        ("rtmps://cam/live", "network", True),
        ("SRT://cam:9000?mode=caller", "network", True),
        ("udp://239.0.0.1:5000", "network", True),
        ("rtp://@:5004", "network", True),
        ("subfile,,start,0,end,9,,:/etc/passwd", "files", False),
        ("data:text/plain,x", "files", False),
        ("pipe:0", "files", False),
        ("clip.mp4", "files", False),
        ("pictures/", "files", False),
        ("file:///etc/passwd", "files", False),  # a path that does not exist, and nothing that FFmpeg gets to see
        ("concat:a|b", "files", False),
    ],
)
def test_kinds(source: str, kind: str, live: bool) -> None:
    address = read_address(source)
    assert (address.kind, address.live, address.target) == (kind, live, source)


@given(SECRETS, SECRETS)
def test_no_password_is_shown_whatever_is_in_it(user: str, secret: str) -> None:
    url = f"rtsp://{user}:secret{secret}@10.0.0.3:554/stream"
    address = read_address(url)
    for text in (address.shown, repr(address), redact(f"cannot open {url}: no answer")):
        assert f"secret{secret}" not in text
        assert "10.0.0.3" in text


def test_host() -> None:
    assert host(read_address("rtsp://a:b@line3.plant:554/s")) == "line3.plant"
    assert host(read_address("rtsp://[::1]:554/s")) == "::1"
    assert host(read_address("rtsp://[broken/s")) == ""
