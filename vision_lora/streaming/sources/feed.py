"""Live pictures: from the network through PyAV, from a camera on this machine through OpenCV.

PyAV, because a factory's network needs what OpenCV's own reader hides: single packets, to throw some away before they
cost a decoder's time; errors of single packets; time limits on every read; and silence, where FFmpeg would print URLs.
"""

from __future__ import annotations

import errno
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vision_lora.errors import ConfigError
from vision_lora.streaming.sources.address import SCHEMES, Address
from vision_lora.streaming.sources.backlog import Backlog

Dropped = Callable[[str], None]


class FeedLost(Exception):  # noqa: N818 - an event of every camera's life
    """A feed ended or could not be opened. Its words never hold an address.

    Args:
        cause: one of a few words, for counting.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class RawFrame(Protocol):
    """A picture as it came; turning it into RGB is left to whoever really needs it."""

    captured: float
    """When it came, seconds of the monotonic clock."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""

    def checksum(self) -> int:
        """Of its bytes."""

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""


class Feed(Protocol):
    """An open feed."""

    def __iter__(self) -> Iterator[RawFrame]:
        """Pictures as they come.

        Raises:
            FeedLost: the feed has ended; it never just stops.
        """

    def close(self) -> None:
        """Let go of it."""


def open_feed(address: Address, timeout: float, dropped: Dropped) -> Feed:
    """Connect.

    Args:
        address: of a live source.
        timeout: longest wait for a connection or a packet, seconds.
        dropped: told the cause of each picture that is thrown away.

    Raises:
        FeedLost: there is no picture to be had from it now.
    """
    if address.kind == "usb":
        return UsbFeed(int(address.target) if address.target.isdecimal() else address.target, timeout)
    return NetworkFeed(address.target, timeout, dropped)


def check_protocol(address: Address) -> None:
    """Refuse what this machine's FFmpeg was built without, such as SRT, instead of trying it for ever.

    Raises:
        ConfigError: the address has such a protocol.
    """
    if address.kind != "network":
        return
    try:
        av.open(address.target, options={"protocol_whitelist": "none"})  # nothing is sent
    except av.error.ProtocolNotFoundError:
        scheme = address.shown.partition("://")[0]
        raise ConfigError(
            f"{address.shown}: PyAV's FFmpeg knows no {scheme} here; expected another protocol of the camera, such as "
            "rtsp, or a PyAV that was built with it"
        ) from None
    except (av.error.FFmpegError, ValueError):
        pass  # known, and not allowed here; or no URL at all, which is told when it is opened


class NetworkFeed:
    """RTSP, RTMP, SRT, MPEG-TS over UDP, or MJPEG and other video over HTTP.

    After a broken packet nothing is shown until the next keyframe: what a decoder conceals looks like a defect.

    Args:
        url: what to open.
        timeout: longest wait for a connection or a packet, seconds.
        dropped: told `corrupt` or `behind` for each picture that is thrown away.
    """

    def __init__(self, url: str, timeout: float, dropped: Dropped) -> None:
        self._dropped = dropped
        began = time.monotonic()
        try:
            self._container = av.open(url, options=_OPTIONS, timeout=(timeout, timeout))
        except (av.error.FFmpegError, ValueError) as error:  # ValueError: no URL to FFmpeg at all
            # An answer that was waited for in vain is "invalid data" to FFmpeg.
            late = time.monotonic() - began >= 0.9 * timeout
            raise FeedLost("timeout" if late else _cause(error)) from None
        if not self._container.streams.video:
            self.close()
            raise FeedLost("no video")
        self._stream = self._container.streams.video[0]
        context = self._stream.codec_context
        # One thread, and no frame held back: threads of a decoder work on several frames at once, which is latency.
        context.thread_type = "NONE"
        context.flags |= av.codec.context.Flags.low_delay
        context.options = {"err_detect": "explode"}

    def __iter__(self) -> Iterator[RawFrame]:
        backlog, gap = Backlog(), ""  # why the next keyframe has to be waited for
        packets = self._container.demux(self._stream)
        while True:
            asked = time.monotonic()
            packet = self._next(packets)
            now = time.monotonic()
            if backlog.behind(now - asked, now):
                gap = "behind"
            elif packet.is_keyframe:
                gap = ""
            pictures = [] if gap else self._decode(packet)
            if pictures is None:
                gap = "corrupt"
            if gap:
                self._dropped(gap)
                continue
            for picture in pictures or ():
                yield _NetworkGrab(picture, now)

    def close(self) -> None:
        self._container.close()

    def _next(self, packets: Iterator[Any]) -> Any:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            raise FeedLost(_cause(error)) from None
        if packet is None or packet.size == 0:
            raise FeedLost("ended")
        return packet

    def _decode(self, packet: Any) -> list[VideoFrame] | None:
        """The packet's pictures; None where it is broken."""
        try:
            pictures: list[VideoFrame] = packet.decode()
        except av.error.FFmpegError:
            return None
        corrupt = packet.is_corrupt or any(picture.is_corrupt for picture in pictures)
        return None if corrupt else pictures


class UsbFeed:
    """A camera of this machine.

    Args:
        device: the operating system's number of it, its path below /dev, or anything else that OpenCV opens.
        timeout: longest wait for a picture, seconds, where the driver heeds it.
    """

    def __init__(self, device: int | str, timeout: float) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would print a line at each try
        limit = int(timeout * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        # A path is a device to Video4Linux alone; other backends would take a name for a file, or for many of them.
        backend = cv2.CAP_V4L2 if str(device).startswith("/dev/") else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(device, backend, limits)
        if not self._capture.isOpened():  # some backends refuse to open with limits that they do not know
            self._capture.open(device, backend)
        if not self._capture.isOpened():
            raise FeedLost("no device")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def __iter__(self) -> Iterator[RawFrame]:
        while True:
            there, picture = self._capture.read()
            if not there:
                raise FeedLost("ended")
            yield _UsbGrab(np.asarray(picture, np.uint8), time.monotonic())

    def close(self) -> None:
        self._capture.release()


class _NetworkGrab:
    def __init__(self, frame: VideoFrame, captured: float) -> None:
        self._frame = frame
        self.captured = captured

    @property
    def size(self) -> tuple[int, int]:
        return self._frame.width, self._frame.height

    def checksum(self) -> int:
        plane = self._frame.planes[0]
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        return zlib.crc32(lines[:, : plane.width].tobytes())  # what pads a line is of any value

    def picture(self) -> NDArray[np.uint8]:
        return np.asarray(self._frame.to_ndarray(format="rgb24"), np.uint8)


class _UsbGrab:
    def __init__(self, picture: NDArray[np.uint8], captured: float) -> None:
        self._picture = picture
        self.captured = captured

    @property
    def size(self) -> tuple[int, int]:
        return self._picture.shape[1], self._picture.shape[0]

    def checksum(self) -> int:
        return zlib.crc32(self._picture.tobytes())

    def picture(self) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(self._picture, cv2.COLOR_BGR2RGB), np.uint8)


_OPTIONS = {
    # No file is ever read for a URL.
    "protocol_whitelist": ",".join((*SCHEMES, "tcp", "tls", "httpproxy", "crypto")),
    "rtsp_transport": "tcp",  # whole packets in order; what is late is thrown away by `Backlog`, not by the network
    "allowed_media_types": "video",
    # FFmpeg would look at five seconds of a feed before it gives the first picture.
    "analyzeduration": "100000",
    "probesize": "65536",
}

_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (av.error.HTTPUnauthorizedError, "wrong password"),
    (av.error.HTTPForbiddenError, "forbidden"),
    (av.error.HTTPNotFoundError, "not found"),
    (av.error.HTTPClientError, "refused"),
    (av.error.HTTPServerError, "refused"),
    (av.error.ConnectionRefusedError, "refused"),
    (av.error.ExitError, "timeout"),  # how FFmpeg says that our time limit interrupted it
    (av.error.TimeoutError, "timeout"),
    (av.error.EOFError, "ended"),
    (av.error.ConnectionResetError, "ended"),
    (av.error.BrokenPipeError, "ended"),
    (av.error.InvalidDataError, "broken"),
    (av.error.OSError, "unreachable"),
)


def _cause(error: Exception) -> str:
    """One of a few words: an FFmpeg error's own text holds the URL."""
    if isinstance(error, OSError) and error.errno == errno.EIO:  # how FFmpeg says that it understands nothing
        return "broken"
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "broken")
