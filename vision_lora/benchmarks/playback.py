"""A video as a network camera: MJPEG over HTTP at its own pace, again and again, to rehearse and to measure with.

`python -m vision_lora.benchmarks.playback --video conveyor.mp4 --port 8090` answers `http://127.0.0.1:8090/`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rich.console import Console

from vision_lora.errors import ConfigError
from vision_lora.options.command_line import run_verb
from vision_lora.options.option import Options, option
from vision_lora.pictures.images import encode_picture
from vision_lora.streaming.sources.source import open_files


@dataclass(frozen=True)
class PlaybackConfig(Options):
    """Play a video as a network camera that never stops, on this machine alone."""

    video: str = option("", "video, or folder of pictures of one size", required="a video or a folder of pictures")
    port: int = option(8090, "port to answer on; 0 takes any free one", at_least=0, at_most=65535)
    fps: float = option(10.0, "pictures a second", more_than=0, at_most=1000)


class Playback:
    """Serves pictures to each client from the first one on; like a camera, it leaves out what the network is late for.

    Args:
        jpegs: the pictures.
        fps: pictures a second.
        port: 0 takes any free one.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, jpegs: Sequence[bytes], fps: float, port: int) -> None:
        class Client(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                began = time.monotonic()
                with suppress(OSError):  # the client has gone
                    while True:
                        number = int((time.monotonic() - began) * fps)
                        jpeg = jpegs[number % len(jpegs)]
                        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        time.sleep(max(0.0, began + (number + 1) / fps - time.monotonic()))

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        try:
            self.server = ThreadingHTTPServer(("127.0.0.1", port), Client)
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror}; give another one") from None
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


def run(config: PlaybackConfig, console: Console) -> None:
    """Read, encode, serve until Ctrl-C."""
    jpegs = [encode_picture(frame.picture, ".jpg", quality=90) for frame in open_files(config.video)]
    playback = Playback(jpegs, config.fps, config.port)
    console.print(f"{len(jpegs)} pictures, {config.fps:g} a second: {playback.url}")
    playback.server.serve_forever()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(PlaybackConfig, "benchmarks.playback", run, argv)


if __name__ == "__main__":
    sys.exit(main())
