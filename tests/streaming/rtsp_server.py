"""A real RTSP server for the tests: GStreamer's, run by the system's Python (Debian's `python3-gi`) as a process.

    /usr/bin/python3 rtsp_server.py --port 8554 --size 640x360 --fps 10

serves `rtsp://127.0.0.1:PORT/line`, H.264, two keyframes a second. It prints `ready` once clients can come, and reads
commands from stdin, one a line: `freeze` (the same picture again and again), `thaw`, `size WxH` (mid-stream).
"""

import argparse
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def draw(size: tuple[int, int], number: int) -> bytes:
    """A grey I420 picture in which a bright square moves from left to right."""
    width, height = size
    side = height // 4
    left = number * 4 % (width - side)
    row = bytes([90]) * width
    square = bytes([90]) * left + bytes([235]) * side + bytes([90]) * (width - side - left)
    luma = row * side + square * side + row * (height - 2 * side)
    return luma + bytes([128]) * (width * height // 2)


class Feed(GstRtspServer.RTSPMediaFactory):
    """Makes pictures and encodes them, for all clients at once."""

    def __init__(self, size: tuple[int, int], fps: int) -> None:
        super().__init__()
        self.size, self.fps = size, fps
        self.frozen = False
        self.number = 0
        self.source = None
        self.set_shared(True)
        self.set_launch(
            "( appsrc name=source is-live=true format=time do-timestamp=true ! queue max-size-buffers=2 ! "
            f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={max(1, fps // 2)} threads=1 ! "
            "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        self.connect("media-configure", self.configured)
        GLib.timeout_add(1000 // fps, self.push)

    def configured(self, _factory: object, media: GstRtspServer.RTSPMedia) -> None:
        self.source = media.get_element().get_by_name("source")
        self.describe()

    def describe(self) -> None:
        width, height = self.size
        caps = f"video/x-raw,format=I420,width={width},height={height},framerate={self.fps}/1"
        self.source.set_property("caps", Gst.Caps.from_string(caps))

    def push(self) -> bool:
        if not self.frozen:
            self.number += 1
        if self.source is not None:
            self.source.emit("push-buffer", Gst.Buffer.new_wrapped(draw(self.size, self.number)))
        return True

    def command(self, line: str) -> bool:
        word, _, value = line.strip().partition(" ")
        if word in ("freeze", "thaw"):
            self.frozen = word == "freeze"
        elif word == "size":
            width, height = map(int, value.split("x"))
            self.size = (width, height)
            if self.source is not None:
                self.describe()
        return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--password", help="user `line` has to give it")
    given = parser.parse_args()
    Gst.init(None)
    width, height = map(int, given.size.split("x"))
    feed = Feed((width, height), given.fps)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given.port))
    if given.password:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("line", given.password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        feed.set_permissions(permissions)
    server.get_mount_points().add_factory("/line", feed)
    if server.attach(None) == 0:
        sys.exit(f"port {given.port} is taken")

    loop = GLib.MainLoop()

    def commands() -> None:
        for line in sys.stdin:
            GLib.idle_add(feed.command, line)
        GLib.idle_add(loop.quit)  # whoever started this is gone

    threading.Thread(target=commands, daemon=True).start()
    print("ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
