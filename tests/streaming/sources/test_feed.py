"""Live pictures from the network and from cameras of this machine."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from tests.streaming.build import (
    MjpegServer,
    draw_number,
    draw_squares,
    free_port,
    read_number,
    write_video,
)
from vision_lora.errors import ConfigError
from vision_lora.streaming.sources.address import read_address
from vision_lora.streaming.sources.feed import FeedLost, NetworkFeed, UsbFeed, check_protocol, open_feed


def ignore(_: str) -> None:
    pass


def test_pictures_over_http_are_those_that_were_sent() -> None:
    with MjpegServer(draw_number, fps=50) as camera:
        feed = open_feed(read_address(camera.url), 3, ignore)
        raws = [raw for raw, _ in zip(feed, range(20), strict=False)]
        feed.close()
    numbers = [read_number(raw.picture()) for raw in raws]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] < 40
    assert {raw.size for raw in raws} == {(128, 32)}
    captured = [raw.captured for raw in raws]
    assert captured == sorted(captured)
    assert abs(captured[-1] - time.monotonic()) < 5


def test_a_checksum_is_of_the_picture_and_of_nothing_else() -> None:
    with MjpegServer(lambda number: draw_number(number // 4), fps=50) as camera:
        feed = open_feed(read_address(camera.url), 3, ignore)
        raws = [(raw.checksum(), read_number(raw.picture())) for raw, _ in zip(feed, range(24), strict=False)]
        feed.close()
    by_number = {number: checksum for checksum, number in raws}
    assert all(by_number[number] == checksum for checksum, number in raws)
    assert len(set(by_number.values())) == len(by_number) >= 3


def test_a_reader_that_is_too_slow_gets_new_pictures_not_old_ones() -> None:
    """200 pictures a second of 1 kB: without shedding, the operating system alone would queue up seconds of them."""
    fps, dropped = 200.0, []
    with MjpegServer(draw_number, fps) as camera:
        feed = open_feed(read_address(camera.url), 3, dropped.append)
        began, ages = time.monotonic(), []
        for raw in feed:
            ages.append((camera.number - read_number(raw.picture())) / fps)
            time.sleep(0.02)
            if time.monotonic() - began > 5:
                break
        feed.close()
    assert max(ages) < 1.5
    assert set(dropped) == {"behind"}
    assert len(ages) > 25


class _Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_error(int(self.path.strip("/")))


def test_causes_are_told_apart_and_never_hold_the_address() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    silent = socket.create_server(("127.0.0.1", 0))
    answers = f"http://user:geheim@127.0.0.1:{server.server_port}"
    cases = {
        f"{answers}/401": "wrong password",
        f"{answers}/403": "forbidden",
        f"{answers}/404": "not found",
        f"{answers}/500": "refused",
        f"rtsp://user:geheim@127.0.0.1:{free_port()}/": "refused",
        f"http://user:geheim@127.0.0.1:{silent.getsockname()[1]}/": "timeout",
        f"rtsp://user:geheim@127.0.0.1:{silent.getsockname()[1]}/": "timeout",
    }
    for url, cause in cases.items():
        with pytest.raises(FeedLost) as lost:
            open_feed(read_address(url), 0.5, ignore)
        assert lost.value.cause == cause, url
        assert "geheim" not in repr(lost.value)
        assert lost.value.__cause__ is None
        assert lost.value.__suppress_context__
    server.shutdown()
    server.server_close()
    silent.close()


def test_what_is_no_video_is_broken(tmp_path: Path) -> None:
    class Text(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>this is the camera's login page</html>" * 100)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Text)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(FeedLost, match="broken"):
        open_feed(read_address(f"http://127.0.0.1:{server.server_port}/"), 2, ignore)
    server.shutdown()
    server.server_close()


def test_no_url_reads_a_file(tmp_path: Path) -> None:
    """A playlist that a camera, or somebody in its place, answers with must not make this machine's files a source."""
    video = write_video(tmp_path / "private.mp4", draw_squares(20))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{video}\n#EXT-X-ENDLIST\n".encode()

    class Playlist(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.end_headers()
            self.wfile.write(playlist)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Playlist)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def watch() -> None:
        for _ in NetworkFeed(f"http://127.0.0.1:{server.server_port}/live.m3u8", 2, ignore):
            pytest.fail("a picture of a local file")

    with pytest.raises(FeedLost):
        watch()
    server.shutdown()
    server.server_close()


def test_a_camera_of_this_machine_that_is_not_there() -> None:
    with pytest.raises(FeedLost, match="no device"):
        open_feed(read_address("97"), 1, ignore)


def test_pictures_of_a_local_camera_are_rgb_until_it_is_unplugged(tmp_path: Path) -> None:
    """OpenCV opens a video as it opens a camera; its end is as if the plug was pulled."""
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 2] = 220  # OpenCV writes BGR
    feed = UsbFeed(str(write_video(tmp_path / "camera.avi", [red] * 5)), 1)
    raws = []
    with pytest.raises(FeedLost, match="ended"):
        raws.extend(iter(feed))  # the pictures come one by one; the end is told
    for raw in raws:
        assert raw.size == (64, 48)
        assert raw.picture()[24, 32].tolist()[0] > 150 > raw.picture()[24, 32].tolist()[2]
    feed.close()


def test_a_camera_of_this_machine_by_its_path_is_a_device_and_no_file(tmp_path: Path) -> None:
    for path in ("/dev/video97", "/dev/v4l/by-id/usb-none", "/dev/null", "/dev/zero"):
        with pytest.raises(FeedLost, match="no device"):
            open_feed(read_address(path), 1, ignore)


def test_mpeg_ts_over_udp() -> None:
    port, done = free_port(), threading.Event()

    def send() -> None:
        with av.open(f"udp://127.0.0.1:{port}", "w", format="mpegts") as out:
            stream = out.add_stream("mpeg2video", rate=25, width=160, height=120, pix_fmt="yuv420p", gop_size=5)
            for picture in draw_squares(250):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                if done.wait(0.02):
                    return

    sender = threading.Thread(target=send)
    sender.start()
    feed = open_feed(read_address(f"udp://127.0.0.1:{port}"), 5, ignore)
    try:
        raw = next(iter(feed))
        assert raw.size == (160, 120)
        assert raw.picture()[55, 20].min() > 150
    finally:
        done.set()
        sender.join()
        feed.close()


@pytest.mark.parametrize(("scheme", "cause"), [("rtmp", "refused"), ("rtmps", "refused"), ("udp", "timeout")])
def test_other_protocols_are_tried_and_their_causes_told(scheme: str, cause: str) -> None:
    with pytest.raises(FeedLost, match=cause):
        open_feed(read_address(f"{scheme}://127.0.0.1:{free_port()}/live"), 0.3, ignore)


def test_a_protocol_that_is_not_built_in_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("rtsp://10.0.0.3/s", "rtmp://10.0.0.3/s", "https://10.0.0.3", "http://[", "0", "clip.mp4"):
        check_protocol(read_address(source))

    def unknown(*_: object, **__: object) -> None:
        raise av.error.ProtocolNotFoundError(1, "not found", "srt://geheim")

    monkeypatch.setattr(av, "open", unknown)
    with pytest.raises(ConfigError, match=r"^srt://h\?\*\*\*: PyAV's FFmpeg knows no srt here"):
        check_protocol(read_address("srt://h?passphrase=geheim"))
