"""Connections that say nothing, too much, or too slowly: the page goes on, and the camera keeps its files."""

from __future__ import annotations

import http.client
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.streaming.build import Running, free_port, running, wait_until
from vision_lora.streaming.web import app, connections
from vision_lora.streaming.web.connections import most_connections
from vision_lora.streaming.web.server import Page

MOST = 12
PATIENCE = 0.4
BUFFER = 4096  # bytes that an operating system keeps for a connection here: it would be megabytes
ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def at_work() -> Iterator[Running]:
    with running(source=[{"url": f"rtsp://127.0.0.1:{free_port()}/s", "name": "gone"}], max_backoff=0.2) as service:
        wait_until(lambda: service.read("gone").state == "lost")
        yield service


@pytest.fixture(scope="module")
def port(at_work: Running) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "MOST", MOST)
        patch.setattr(connections, "PATIENCE", PATIENCE)
        patch.setattr(connections, "LOOK", 0.05)
        patch.setattr(app, "SILENCE", PATIENCE)
        patch.setattr(app, "NUMBERS", 0.05)
        page = Page("127.0.0.1", 0, None)
        page._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        page.serve(at_work.service)
        yield int(page.url.rstrip("/").rpartition(":")[2])
        page.stop()


@pytest.fixture(autouse=True)
def _page_goes_on(port: int, at_work: Running, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After everything that is tried here the page answers, the camera tries its source, and nothing was written."""
    yield
    assert health(port) == 200
    before = sum(at_work.read("gone").losses.values())
    wait_until(lambda: sum(at_work.read("gone").losses.values()) > before, what="the camera goes on")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING], caplog.text


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", "/healthz")
        return connection.getresponse().status


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def closed_after(client: socket.socket) -> float:
    """Seconds until the page has closed a connection."""
    began = time.monotonic()
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


def send_until_closed(client: socket.socket, part: bytes, pause: float, seconds: float = 10) -> float:
    """Send again and again; seconds until the page has closed the connection."""
    began = time.monotonic()
    client.settimeout(pause or 0.001)
    while time.monotonic() - began < seconds:
        try:
            client.sendall(part)
            if not client.recv(65536):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - began


def watching(port: int, **how: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/api/live", **how)


def test_many_that_say_nothing_keep_nobody_out(port: int) -> None:
    with ExitStack() as held:
        for _ in range(10 * MOST):
            held.enter_context(dial(port))
        assert health(port) == 200


def test_one_that_says_nothing_is_closed(port: int) -> None:
    with dial(port) as client:
        assert 0.5 * PATIENCE < closed_after(client) < 5


def test_one_that_asks_no_second_time_is_closed(port: int) -> None:
    with dial(port) as client:
        client.sendall(ASK + b"\r\n")
        assert b"200 OK" in client.recv(4096)
        assert closed_after(client) < 5


@pytest.mark.parametrize(
    ("first", "part"),
    [
        (ASK, b"X: y\r\n"),
        (b"", b"G"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", b"t"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nt\r\n"),
        (b"PUT /none HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nt\r\n"),
    ],
    ids=["headers", "a method", "a body", "a body in chunks", "a body that nobody wants"],
)
def test_a_request_that_comes_bit_by_bit_is_given_up(port: int, first: bytes, part: bytes) -> None:
    with dial(port) as client:
        client.sendall(first)
        assert send_until_closed(client, part, 0.02) < 5


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000000\r\n\r\n" + b"x" * 100_000, b"413"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100\r\n%s\r\n" * 300, b"413"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000, b"400"),
        (b"GET /" + b"y" * 40_000, b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 20, b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET /static/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /static/" + b"y" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /api/crops/%ED%A0%80 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET http://[ HTTP/1.1\r\nHost: [\r\n\r\n", b"421"),
    ],
)
def test_what_is_too_large_or_no_request_is_refused(port: int, ask: bytes, status: bytes) -> None:
    with dial(port) as client:
        client.sendall(ask.replace(b"%s", b"x" * 256))
        assert status in client.recv(4096).splitlines()[0]


def test_a_body_without_end_is_not_kept(port: int) -> None:
    with dial(port) as client:
        client.sendall(b"POST /api/sources/gone HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert send_until_closed(client, b"10000\r\n" + b"x" * 65536 + b"\r\n", 0) < 5


def test_one_that_reads_nothing_is_closed(port: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /static/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)  # 700 kB
        time.sleep(3 * PATIENCE)
        taken = 0
        try:
            while part := client.recv(65536):
                taken += len(part)
        except ConnectionError:
            pass
        assert taken < 100_000


def test_one_address_has_half_of_them_and_the_rest_is_for_others(port: int) -> None:
    with ExitStack() as held:
        viewers = [held.enter_context(watching(port)) for _ in range(MOST // 2)]
        for viewer in viewers:
            viewer.send("more")
            viewer.recv(5)
        with pytest.raises((WebSocketException, EOFError, OSError)):
            watching(port, open_timeout=3)
        viewers[0].send("more")  # who watches is not closed for somebody who comes later
        viewers[0].recv(5)
        with socket.socket() as other:
            other.bind(("127.0.0.2", 0))
            other.settimeout(10)
            other.connect(("127.0.0.1", port))
            other.sendall(ASK + b"X-Forwarded-For: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in other.recv(4096)
    wait_until(lambda: health_or_none(port) == 200, what="the viewers have gone")


def health_or_none(port: int) -> int | None:
    try:
        return health(port)
    except (OSError, http.client.HTTPException):
        return None


def test_ten_thousand_pings(port: int) -> None:
    with watching(port, ping_interval=None) as viewer:
        for _ in range(10_000):
            viewer.socket.sendall(b"\x89\x80\x00\x00\x00\x00")
        viewer.send("more")
        assert "state" in str(viewer.recv(10))


def test_a_browser_may_ask_with_anything_but_not_at_any_length(port: int) -> None:
    with watching(port) as viewer:
        for more in (b"\xff\x00", "", "{}", "x" * 1000):
            viewer.send(more)
            assert "pictures" in str(viewer.recv(5))
        viewer.send("x" * 1_000_000)
        with pytest.raises(ConnectionClosed):
            viewer.recv(5)


def test_a_browser_that_asks_for_nothing_is_closed(port: int) -> None:
    with watching(port) as viewer, pytest.raises(ConnectionClosed):
        viewer.recv(5)


@pytest.mark.parametrize("text", [b"\x81\x82\x00\x00\x00\x00\xff\xff", b"\x83\x80\x00\x00\x00\x00", b"\xff" * 50])
def test_no_websocket_at_all(port: int, text: bytes) -> None:
    with watching(port, ping_interval=None) as viewer:
        viewer.socket.sendall(text)
        with pytest.raises(ConnectionClosed):
            viewer.recv(5)


@pytest.mark.parametrize(("files", "most"), [(1024, 64), (256, 64), (100, 25), (4, 2), (-1, 64)])
def test_the_camera_keeps_most_of_its_files(files: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = SimpleNamespace(getrlimit=lambda _: (files, files), RLIMIT_NOFILE=7, RLIM_INFINITY=-1)
    monkeypatch.setattr(connections, "resource", limit)
    monkeypatch.setattr(connections, "MOST", 64)
    assert most_connections() == most
