"""uvicorn, set up for a gateway. Apart from the wiring, so that a dispatcher never loads it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 2048
_HEAD_END: Final = b"\r\n\r\n"


class _Corked:
    """A transport that holds the head of an answer back until the body comes, in the same step.

    uvicorn writes them apart, and each write is a packet, and wakes the caller. A head that nothing
    follows (to HEAD) goes out when the step ends.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the transport's own
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold what ends like a head."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data.endswith(_HEAD_END):
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Write what is held, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, one write for an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport = _Corked(self.transport, self.loop)  # type: ignore[assignment]


class Server(uvicorn.Server):
    """Serves one app on one socket. Signals are the caller's, who has more to close behind it."""

    def __init__(self, app: ASGIApp, *, drain_s: float) -> None:
        """Set up; `drain_s` bounds the wait for requests under way at the end."""
        config = uvicorn.Config(
            app,
            loop="none",
            http=_Protocol,
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
