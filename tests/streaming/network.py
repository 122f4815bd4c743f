"""A network between a camera and its reader that goes wrong when a test says so."""

from __future__ import annotations

import re
import socket
import threading
import time

import numpy as np
from numpy.typing import NDArray


class Network:
    """A TCP proxy between the reader and a camera that can go wrong like a network.

    Attributes:
        mode: `pass`; `hang` keeps connections and forwards nothing; `corrupt` changes bytes within the packets that the
            camera sends; `garble` changes bytes anywhere, so that nobody can tell where the next packet begins.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.mode = "pass"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._random = np.random.default_rng(0)
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Cut all connections."""
        for one in self._sockets:
            one.close()
        self._sockets.clear()

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.drop()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                camera = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                continue
            self._sockets += [client, camera]
            threading.Thread(target=self._forward, args=(client, camera, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(camera, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, from_camera: bool) -> None:
        try:
            framing = _Framing()
            while data := source.recv(65536):
                while self.mode == "hang" and not self._closed:
                    time.sleep(0.005)
                if from_camera:
                    data = self._damaged(data, framing.within(data))
                sink.sendall(data)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

    def _damaged(self, data: bytes, within: NDArray[np.bool_]) -> bytes:
        """What arrives of this; `within` marks the bytes inside packets."""
        if self.mode not in ("corrupt", "garble"):
            return data
        array = np.frombuffer(data, np.uint8).copy()
        places, every = (np.flatnonzero(within), 500) if self.mode == "corrupt" else (np.arange(len(array)), 10)
        hits = self._random.permutation(places)[: max(1, len(places) // every)]
        array[hits] ^= self._random.integers(1, 255, len(hits)).astype(np.uint8)
        return array.tobytes()


class _Framing:
    """Where the packets lie in an RTSP connection: after `$`, a channel and a length (RFC 2326, section 10.12).

    Answers to requests come between them and are text: a head, and a body whose length the head tells.
    """

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._packet = False

    def within(self, data: bytes) -> NDArray[np.bool_]:
        """For each byte whether a packet holds it."""
        marks = np.zeros(len(data), bool)
        for place, byte in enumerate(data):
            if self._left:
                marks[place] = self._packet
                self._left -= 1
                continue
            self._head += bytes([byte])
            self._packet = self._head.startswith(b"$")
            if self._packet and len(self._head) == 4:
                self._left, self._head = int.from_bytes(self._head[2:]), b""
            elif self._head.endswith(b"\r\n\r\n"):
                body = re.search(rb"content-length: *(\d+)", self._head, re.IGNORECASE)
                self._left, self._head = int(body[1]) if body else 0, b""
        return marks
