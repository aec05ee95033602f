"""uvicorn, set up for a gateway. Apart from the wiring, so that a dispatcher never loads it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 2048


class Server(uvicorn.Server):
    """Serves one app on one socket. Signals are the caller's, who has more to close behind it."""

    def __init__(self, app: ASGIApp, *, drain_s: float) -> None:
        """Set up; `drain_s` bounds the wait for requests under way at the end."""
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(drain_s)),
            backlog=_BACKLOG,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def serve_on(self, bound: socket.socket) -> None:
        """Serve until `end` is called."""
        await self.serve(sockets=[bound])

    def end(self) -> None:
        """Stop soon: answer what is under way, take nothing more."""
        self.should_exit = True
