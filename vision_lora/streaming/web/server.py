"""The page's server, in a thread of its own."""

from __future__ import annotations

import logging
import socket

import uvicorn

from vision_lora.errors import ConfigError
from vision_lora.streaming.service import Service
from vision_lora.streaming.web.access import Access
from vision_lora.streaming.web.app import make_app
from vision_lora.streaming.web.connections import Connections, protocol
from vision_lora.streaming.worker import Worker

GOODBYE = 3  # seconds for open connections to end
LONGEST_HEADER = 16_384  # bytes of a request without its body
LONGEST_MESSAGE = 1024  # bytes of a browser's `more`
BACKLOG = 16  # connections that are taken at once, before one is looked at: each is an open file of the camera's

log = logging.getLogger(__name__)


class Page(Worker):
    """Takes the port when it is made, so that a mistake is told before anything else is done.

    Args:
        host: address to listen on.
        port: 0 takes any free one.
        token: see `Access`.

    Raises:
        ConfigError: the port is taken, there is no such address, or a token is needed.
    """

    def __init__(self, host: str, port: int, token: str | None) -> None:
        super().__init__("page")
        self._access = Access(host, token)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigError(f"--serve {port} on {host}: {error.strerror}; give another port or host") from None
        self._server: uvicorn.Server | None = None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}/"

    def serve(self, service: Service) -> None:
        """Begin to show a service."""
        connections = Connections()
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(service, self._access, connections),
                loop="asyncio",
                http=protocol(connections),
                lifespan="off",
                # No access log: it would be written for weeks, and tells who watches. Nor every request that is none.
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # a client may not call itself another one
                backlog=BACKLOG,
                h11_max_incomplete_event_size=LONGEST_HEADER,
                ws_max_size=LONGEST_MESSAGE,
                ws_per_message_deflate=False,  # pictures are compressed already
                timeout_graceful_shutdown=GOODBYE,
            )
        )
        self.start()

    def stop(self) -> None:
        """End; may be called again."""
        if self._server is None:
            self._socket.close()
        else:
            self._server.should_exit = True
            self.join(GOODBYE + 2.0)

    def work(self) -> None:
        assert self._server is not None, "serve has made it"
        try:
            self._server.run([self._socket])
        finally:
            if not self._server.should_exit:
                log.error("the page at %s has ended; the cameras are watched on", self.url)
