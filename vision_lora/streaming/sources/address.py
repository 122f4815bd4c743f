"""What a `--source` means, and how to speak of it without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from vision_lora.text.redact import redact

Kind = Literal["network", "usb", "files"]

# What may be opened over the network. FFmpeg knows many more protocols, some of which read local files.
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "http", "https", "udp", "rtp")

# A camera of this machine has no file while it is unplugged, so the path itself has to tell. /dev/shm holds files.
_DEVICE = re.compile(r"/dev/(?!shm/).+")


@dataclass(frozen=True)
class Address:
    """Where pictures come from.

    Args:
        kind: a stream from the network, a camera on this machine, or files.
        target: what is opened, its password included; never shown, not even by `repr`.
        shown: what may be shown.
    """

    kind: Kind
    target: str = field(repr=False)
    shown: str

    @property
    def live(self) -> bool:
        """Whether pictures come whether we want them or not, and only the newest counts."""
        return self.kind != "files"


def read_address(source: str) -> Address:
    """Tell a URL, a camera of this machine (its number or its path below /dev), and a file or folder apart.

    Examples:
        >>> read_address("rtsp://operator:secret@10.0.0.3/stream")
        Address(kind='network', shown='rtsp://***@10.0.0.3/stream')
        >>> read_address("0").shown
        'camera 0 of this machine'
        >>> read_address("/dev/video0").kind
        'usb'
    """
    if source.isdecimal():
        return Address("usb", source, f"camera {int(source)} of this machine")
    if _DEVICE.fullmatch(source):
        return Address("usb", source, f"camera {source}")
    if source.partition("://")[0].lower() in SCHEMES:
        return Address("network", source, redact(source))
    return Address("files", source, redact(source))


def host(address: Address) -> str:
    """The host of a network address, for a name; empty where there is none."""
    try:
        return urlsplit(address.shown.replace("***@", "")).hostname or ""
    except ValueError:  # brackets that are no IPv6 address
        return ""
