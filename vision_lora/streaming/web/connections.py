"""Connections to the page: how many there may be, and for how long one may keep the others waiting.

A server of its own accord waits for ever: for a client that says nothing, for a header of which a byte comes now and
then, for an answer to be taken. Each such connection is an open file, and the camera needs files for its own work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

MOST = 64  # connections at once, of all clients
SHARE = 4  # of the files that the process may open, connections take one in so many at most: the rest are the camera's
PATIENCE = 10.0  # seconds for a client to say all that it has to say, and to take an answer
LOOK = 0.5  # seconds between two looks at all connections


class Connection:
    """One client's connection.

    Args:
        transport: of it; None where an application is called without a server.

    Attributes:
        waits: since when its client has owed something, seconds of the monotonic clock; None while the page is at work.
        gone: done once it is closed.
    """

    def __init__(self, transport: asyncio.Transport | None = None) -> None:
        self.transport = transport
        self.waits: float | None = time.monotonic()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._full_since: float | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """It is the page that works, for as long as it likes; afterwards the client may ask again, for a while."""
        self.waits = None
        try:
            yield
        finally:
            self.waits = time.monotonic()

    def late(self, now: float) -> bool:
        """Whether its client has taken too long: to ask, or to take what was sent."""
        assert self.transport is not None, "it has been entered"
        if not self.transport.get_write_buffer_size():
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        return any(since is not None and now - since > PATIENCE for since in (self.waits, self._full_since))

    @property
    def closed(self) -> bool:
        """Whether its file is closed; a transport alone may still wait to be emptied."""
        assert self.transport is not None, "it has been entered"
        return bool(self.transport.get_extra_info("socket").fileno() < 0)


class Connections:
    """All connections of a page. Where there are too many, those go first whose clients have owed something longest.

    Args:
        most: at once, of all clients; one address may have half of them.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most_connections() if most is None else most
        self._open: dict[tuple[str, int], Connection] = {}
        self._looking = False

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, transport: asyncio.Transport) -> None:
        """Take note of a new connection; close another one for it, or it, where there is no room."""
        client = transport.get_extra_info("peername")
        if client is None:  # it has gone already
            transport.abort()
            return
        self._forget_closed()
        new = Connection(transport)
        same = [other for key, other in self._open.items() if key[0] == client[0]]
        if not (self._room(same, self.most // 2) and self._room(list(self._open.values()), self.most)):
            transport.abort()
            return
        self._open[client[0], client[1]] = new
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK, self._look)

    def of(self, scope: Mapping[str, Any]) -> Connection:
        """The connection that a request came through."""
        client = scope.get("client")
        return (self._open.get((client[0], client[1])) if client else None) or Connection()

    def _room(self, crowd: list[Connection], most: int) -> bool:
        """Whether there is room for one more among some, if need be made by closing one that only waits."""
        if len(crowd) < most:
            return True
        waiting = [one for one in crowd if one.waits is not None]
        if not waiting:
            return False
        self._close(min(waiting, key=lambda one: one.waits or 0.0))
        return True

    def _close(self, connection: Connection) -> None:
        assert connection.transport is not None, "it has been entered"
        connection.transport.abort()  # `close` would wait until a client that reads nothing has read everything
        self._open = {key: other for key, other in self._open.items() if other is not connection}
        if not connection.gone.done():
            connection.gone.set_result(None)

    def _forget_closed(self) -> None:
        for connection in [one for one in self._open.values() if one.closed]:
            self._close(connection)

    def _look(self) -> None:
        self._forget_closed()
        now = time.monotonic()
        for connection in [one for one in self._open.values() if one.late(now)]:
            self._close(connection)
        self._looking = bool(self._open)
        if self._looking:
            asyncio.get_running_loop().call_later(LOOK, self._look)


def most_connections() -> int:
    """How many the page may have at once: the camera keeps most of the files that the process may open."""
    if resource is not None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            return max(2, min(MOST, files // SHARE))
    return MOST


def protocol(connections: Connections) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP with every connection entered; a WebSocket goes on with the connection that it began with."""

    class Watched(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections.enter(transport)

    return Watched
