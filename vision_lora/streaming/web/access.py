"""Who may see the page: everybody on this machine, or whoever knows the token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision_lora.errors import ConfigError
from vision_lora.streaming.incoming import LONGEST
from vision_lora.streaming.web.connections import Connection, Connections

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE = "vision_lora"
OPEN = ("/login", "/static/", "/healthz")  # what needs no token: nothing of it shows a camera
SHORTEST = 8  # letters of a token
PENALTY = 0.5  # seconds between two wrong tokens

_HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class Access:
    """Checks tokens, in a time that does not tell how much of one was right.

    Args:
        host: address that the page listens on.
        token: the secret; may be None where only this machine can reach the page.

    Raises:
        ConfigError: others can reach the page and there is no token, or it is too short to resist guessing.
    """

    def __init__(self, host: str, token: str | None) -> None:
        if token is None and host not in LOOPBACK:
            raise ConfigError(
                f"--host {host}: others could watch; expected --token, or a token in the variable VISION_LORA_TOKEN"
            )
        if token is not None and len(token) < SHORTEST:
            raise ConfigError(f"--token: {len(token)} letters; expected {SHORTEST} or more")
        try:
            self._token = None if token is None else token.encode()
        except UnicodeEncodeError:
            raise ConfigError("--token: expected text in UTF-8") from None
        self.local = host in LOOPBACK
        self._one_by_one = asyncio.Lock()

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token: it tells nothing about it, and is the same after a restart."""
        return hmac.new(self._token or b"", b"vision_lora page", hashlib.sha256).hexdigest()

    async def login(self, token: str, connection: Connection) -> bool:
        """Whether a token is the right one."""
        right = self._token is not None and hmac.compare_digest(token.encode(), self._token)
        return right or await self._wrong(connection)

    async def admits(self, headers: Headers, connection: Connection) -> bool:
        """Whether a request carries the token (`Authorization: Bearer`) or the cookie."""
        if self._token is None:
            return True
        given, expected = _bearers(headers), self._token
        if not given:
            given, expected = _cookies(headers), self.cookie.encode()
        if not given:
            return False  # this was no guess
        right = len(given) == 1 and hmac.compare_digest(given[0], expected)  # one request is one guess
        return right or await self._wrong(connection)

    async def _wrong(self, connection: Connection) -> Literal[False]:
        """Let a guess take its time: all of them, from wherever and in whatever form, are answered one by one."""
        connection.waits = time.monotonic()  # not at work: it may be closed in favour of others
        turn = asyncio.ensure_future(self._turn())
        try:
            await asyncio.wait({turn, connection.gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            turn.cancel()
        return False

    async def _turn(self) -> None:
        async with self._one_by_one:
            await asyncio.sleep(PENALTY)


class Guard:
    """Stands before the page: what has no business there, or is too large, or comes too slowly, never gets to it.

    Args:
        app: the page.
        access: who may see it.
        connections: of the page.
    """

    def __init__(self, app: ASGIApp, access: Access, connections: Connections | None = None) -> None:
        self._app = app
        self._access = access
        self._connections = Connections() if connections is None else connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = self._connections.of(scope)
        connection.waits = time.monotonic()  # its header has come: now for the body
        scope["connection"] = connection
        refusal = await self._refusal(scope, Headers(scope=scope), connection)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008})
                return
            with connection.at_work():
                await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        if refusal is None:
            try:
                body = await _body(receive)
            except ClientDisconnect:
                return
            if body is None:
                refusal = JSONResponse({"error": f"more than {LONGEST:,} bytes"}, 413, {"Connection": "close"})
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        with connection.at_work():
            await self._app(scope, _replayed(body, receive), send)

    async def _refusal(self, scope: Scope, headers: Headers, connection: Connection) -> Response | None:
        host = headers.get("host", "")
        # A name of somebody else's that points to 127.0.0.1 would let their web page read this one (DNS rebinding).
        if self._access.local and _name(f"//{host}") not in LOOPBACK:
            return JSONResponse({"error": "unknown host"}, 421)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return JSONResponse({"error": "sent by another web site"}, 403)
        if scope["path"].startswith(OPEN) or await self._access.admits(headers, connection):
            return None
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return JSONResponse({"error": "a token is needed"}, 401, {"WWW-Authenticate": "Bearer"})


async def _body(receive: Receive) -> bytes | None:
    """The body of a request, or None where it is too long.

    Raises:
        ClientDisconnect: it never came as a whole.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > LONGEST:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes | None, receive: Receive) -> Receive:
    """What gives a body that has been received, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return messages.pop() if messages else await receive()

    return receiving


def _bearers(headers: Headers) -> list[bytes]:
    """The tokens that are given, however many; other kinds of authorization are somebody else's."""
    pairs = [text.partition(" ") for text in headers.getlist("authorization")]
    return [secret.strip().encode("latin-1") for kind, _, secret in pairs if kind.lower() == "bearer"]


def _cookies(headers: Headers) -> list[bytes]:
    """The values of our cookie, however many are given."""
    pairs = [pair.partition("=") for text in headers.getlist("cookie") for pair in text.split(";")]
    return [value.strip().strip('"').encode("latin-1") for name, _, value in pairs if name.strip() == COOKIE]


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # brackets that are no IPv6 address
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
        await send(message)

    return sending
