"""Cameras and a detector for the tests: real where what is tested touches them, quick where it does not."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import save_adapter
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.readout import Readout
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.errors import WrongBaseError
from vision_lora.options.camera import CameraConfig
from vision_lora.pictures.detections import Detections
from vision_lora.streaming.detecting import DetectedFrame
from vision_lora.streaming.judging import Judging
from vision_lora.streaming.service import Service
from vision_lora.streaming.settings import read_sources
from vision_lora.system.signals import Stop

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's GStreamer bindings are for it alone
SERVER = Path(__file__).with_name("rtsp_server.py")


def wait_until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> float:
    """Wait until something is so; gives for how long."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            pytest.fail(f"not within {seconds} s: {what or condition}")
        time.sleep(0.005)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# A detector ------------------------------------------------------------------------------------------------------


class SquareFinder:
    """Finds bright squares. What they are called is up to the active adapter; general is a `square`.

    It is no network, so that tests of everything around a detector take milliseconds; it has of `Detector` what the
    camera uses.

    Args:
        delay: seconds that a picture takes.
    """

    device = torch.device("cpu")
    names = ("square",)
    side = 96

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.adapters = _Adapters()
        self.active: str | None = None
        self.batches: list[int] = []
        self.sides: set[int] = set()

    def attach(self, adapter: Adapter, name: str, *, use: bool) -> None:
        assert not use
        if adapter.card.names[0] == "foreign":
            raise WrongBaseError("the adapter was made for another base")
        self.adapters.adapters[name] = adapter

    def use(self, name: str | None) -> None:
        assert name is None or name in self.adapters.adapters
        self.active = name

    def predict(
        self, pictures: Sequence[NDArray[np.uint8]], imgsz: int, *, mode: str, readout: Readout
    ) -> list[Detections]:
        self.batches.append(len(pictures))
        self.sides.add(imgsz)
        time.sleep(self.delay * len(pictures))
        learned = () if self.active is None else self.adapters.adapters[self.active].card.names
        return [self._find(picture, mode, learned, readout.confidence) for picture in pictures]

    def _find(self, picture: NDArray[np.uint8], mode: str, learned: tuple[str, ...], lowest: float) -> Detections:
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 180).astype(np.uint8))
        boxes, scores, classes = [], [], []
        for x, y, width, height, area in stats[1:]:
            if area < 20:
                continue
            score = float(area) / (width * height) * 0.95
            for kind in ([0] if mode != "defects" else []) + ([1] if learned and mode != "general" else []):
                if score >= lowest:
                    boxes.append([x, y, x + width, y + height])
                    scores.append(score)
                    classes.append(kind)
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(classes, np.int64),
            (*self.names, *learned),
            1,
        )


class _Adapters:
    """What `detector.adapters` has of an AdapterSet."""

    def __init__(self) -> None:
        self.adapters: dict[str, Adapter] = {}

    def detach(self, name: str) -> Adapter:
        return self.adapters.pop(name)


def adapter_files(folder: Path, **names: tuple[str, ...]) -> Path:
    """Real adapter files for a small YOLO with random weights: `name=classes`."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = YoloDetector.load("yolov8n.yaml")
    for name, classes in names.items():
        save_adapter(new_adapter(detector, classes, rank=1, imgsz=64), folder / f"{name}.safetensors")
    return folder


# A service -------------------------------------------------------------------------------------------------------


class Running:
    """A service at work in a thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.stop = Stop()
        self.code: int | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.code = self.service.run(self.stop)
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.error = error

    def read(self, source: str) -> Any:
        return self.service.stats[source].read()

    def received(self, source: str) -> int:
        return int(self.read(source).received)

    def wait_for_picture(self, source: str, seconds: float = 10.0) -> float:
        """Seconds until the next picture of a source."""
        before = self.received(source)
        return wait_until(lambda: self.received(source) > before, seconds, f"a picture of {source}")

    def kinds(self, source: str = "") -> list[str]:
        events = self.service.journal.recent()
        return [event["kind"] for event in events if event.get("source", "") == source]

    def end(self, seconds: float = 20.0) -> int | None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the service does not end"
        if self.error is not None:
            raise self.error
        return self.code


@contextmanager
def running(detector: Any = None, **options: Any) -> Iterator[Running]:
    """A service with these options of `camera`, stopped at the end."""
    config = CameraConfig(**{"model": "m", "min_frames": 2, **options})
    at_work = Running(Service(config, read_sources(config), detector or SquareFinder()))
    try:
        yield at_work
    finally:
        at_work.stop.set()
        at_work.end()


def results_of(monkeypatch: pytest.MonkeyPatch) -> list[DetectedFrame]:
    """Every result that is judged, in order."""
    results: list[DetectedFrame] = []
    judge = Judging._judge

    def noting(judging: Judging, result: DetectedFrame) -> None:
        judge(judging, result)
        results.append(result)

    monkeypatch.setattr(Judging, "_judge", noting)
    return results


# Cameras ---------------------------------------------------------------------------------------------------------


def draw_squares(count: int, *, size: tuple[int, int] = (160, 120), fill: int = 90) -> list[NDArray[np.uint8]]:
    """Pictures in which a bright square moves from left to right."""
    width, height = size
    pictures = []
    for number in range(count):
        picture = np.full((height, width, 3), fill, np.uint8)
        left = 4 + number * 2 % (width - 44)
        picture[40:70, left : left + 30] = 235
        pictures.append(picture)
    return pictures


def write_video(file: Path, pictures: Sequence[NDArray[np.uint8]], fps: float = 10.0) -> Path:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return file


class RtspServer:
    """GStreamer's RTSP server as a process, so that it can be killed as a camera is unplugged."""

    def __init__(self, port: int | None = None, *, fps: int = 10, size: str = "160x120", password: str = "") -> None:
        self.port = port or free_port()
        command = [SYSTEM_PYTHON, SERVER, "--port", self.port, "--fps", fps, "--size", size]
        command += ["--password", password] if password else []
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.url = f"rtsp://127.0.0.1:{self.port}/line"

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def need_rtsp() -> None:
    """Skip where GStreamer's RTSP server is not installed."""
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip("no system Python")
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None);"
        "assert Gst.ElementFactory.find('x264enc')"
    )
    if subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip("no GStreamer RTSP server: .ci/run installs it (gir1.2-gst-rtsp-server-1.0 and plugins)")


class MjpegServer:
    """A camera that sends JPEGs over HTTP at its own pace; like one, it leaves out what the network does not take.

    Args:
        draw: gives the picture of a number.
        fps: pictures a second.

    Attributes:
        number: of the picture that is due now.
    """

    def __init__(self, draw: Callable[[int], NDArray[np.uint8]], fps: float) -> None:
        self.number = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                began = time.monotonic()
                try:
                    while True:
                        server.number = int((time.monotonic() - began) * fps)
                        _, jpeg = cv2.imencode(".jpg", draw(server.number))
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                        time.sleep(max(0.0, began + (server.number + 1) / fps - time.monotonic()))
                except OSError:
                    pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/video"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> MjpegServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def draw_number(number: int) -> NDArray[np.uint8]:
    """A picture from which `read_number` reads a number of up to 16 bits."""
    bits = [(number >> bit) & 1 for bit in range(16)]
    return np.kron(np.array(bits, np.uint8).reshape(2, 8) * 200 + 20, np.ones((16, 16), np.uint8))[..., None].repeat(
        3, 2
    )


def read_number(picture: NDArray[np.uint8]) -> int:
    bits = (picture[8::16, 8::16, 0] > 120).reshape(-1)
    return int(sum(1 << bit for bit in range(16) if bits[bit]))
