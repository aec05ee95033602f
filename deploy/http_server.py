"""uvicorn, set up for a gateway. Apart from the wiring, so that a dispatcher never loads it."""

import asyncio
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.middleware import REQUEST_ID
from gateway.problems import head_too_large, malformed

MAX_HEAD_BYTES: Final = 65_536  # of a request's line and headers
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


class _HeadTooLarge(Exception):
    """The head of a request is larger than the limit."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol: one write for an answer, heads within bounds, errors as ours.

    A head is counted whole once it is there; of one that does not come to its end, what came after
    the piece that it began in.
    """

    _in_head = False
    _began = False  # in this piece
    _waiting_bytes = 0
    _piece_bytes = 0
    _is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport = _Corked(self.transport, self.loop)  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take a piece of what is sent, unless it is too much of a head."""
        self._began, self._piece_bytes = False, len(data)
        super().data_received(data)
        if not self._in_head:
            return
        if not self._began:
            self._waiting_bytes += len(data)
        if self._waiting_bytes > MAX_HEAD_BYTES and not self._is_refused:
            self._refuse(head_too_large(MAX_HEAD_BYTES))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._began, self._waiting_bytes = True, True, 0

    def on_headers_complete(self) -> None:
        """Begin a request.

        Raises:
            _HeadTooLarge: The parser turns it into its own error, and that becomes an answer.
        """
        self._in_head = False
        # Most heads come in one small piece: there is nothing to add up.
        if self._piece_bytes + self._waiting_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._waiting_bytes = size
                raise _HeadTooLarge
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says it
        """Answer what the parser does not take, and close the connection."""
        too_large = self._waiting_bytes > MAX_HEAD_BYTES
        self._refuse(head_too_large(MAX_HEAD_BYTES) if too_large else malformed())

    def _refuse(self, answer: Response) -> None:
        """Answer in the place of the app, and close the connection."""
        self._is_refused = True
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (REQUEST_ID.encode(), secrets.token_hex(8).encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[answer.status_code] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()


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
