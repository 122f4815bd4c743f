"""Who may see the page: everybody on this machine, or whoever knows the token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vision_lora.errors import ConfigError

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
        self.local = host in LOOPBACK
        self._token = token
        self._one_by_one = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether there is no token."""
        return self._token is None

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token: it tells nothing about it, and is the same after a restart."""
        return hmac.new((self._token or "").encode(), b"vision_lora page", hashlib.sha256).hexdigest()

    async def login(self, token: str) -> bool:
        """Whether a token is the right one; wrong ones are answered one after the other, slowly."""
        if self._token is not None and hmac.compare_digest(token.encode(), self._token.encode()):
            return True
        async with self._one_by_one:
            await asyncio.sleep(PENALTY)
        return False

    def admits(self, headers: Headers) -> bool:
        """Whether a request carries the token (`Authorization: Bearer`) or the cookie."""
        if self._token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(), self._token.encode())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.cookie.encode())


class Guard:
    """Stands before the page: asks for the token, and turns away what other web sites make a browser send.

    Args:
        app: the page.
        access: who may see it.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "http":
            await refusal(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        # A name of somebody else's that points to 127.0.0.1 would let their web page read this one (DNS rebinding).
        if self._access.local and _name(f"//{host}") not in LOOPBACK:
            return JSONResponse({"error": "unknown host"}, 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return JSONResponse({"error": "sent by another web site"}, 403)
        if self._access.admits(headers) or scope["path"].startswith(OPEN):
            return None
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return JSONResponse({"error": "a token is needed"}, 401, {"WWW-Authenticate": "Bearer"})


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
