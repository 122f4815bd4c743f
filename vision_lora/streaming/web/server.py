"""The page's server, in a thread of its own."""

from __future__ import annotations

import socket

import uvicorn

from vision_lora.errors import ConfigError
from vision_lora.streaming.service import Service
from vision_lora.streaming.web.access import Access
from vision_lora.streaming.web.app import make_app
from vision_lora.streaming.worker import Worker

GOODBYE = 3  # seconds for open connections to end


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
        # No access log: it would be written for weeks, and tells who watches.
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(service, self._access),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GOODBYE,
            )
        )
        self.start()

    def stop(self) -> None:
        """End."""
        if self._server is not None:
            self._server.should_exit = True
            self.join(GOODBYE + 2.0)

    def work(self) -> None:
        assert self._server is not None, "serve has made it"
        self._server.run([self._socket])
