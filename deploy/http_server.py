"""uvicorn, set up for a gateway. Apart from the wiring, so that a dispatcher never loads it."""

import asyncio
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from deploy.http_guard import LEAST_RATE, Cut, HttpGuard, HttpLimits
from gateway.middleware import REQUEST_ID
from gateway.problems import head_too_large, malformed, too_many_connections, too_slow

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
        """Write, or hold what ends like a head; what nobody gets any more is dropped.

        Of requests that came at once uvicorn tells the last alone that the client is gone.
        """
        if self._transport.is_closing():
            self._held = b""
        elif self._held:
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
    the piece that it began in. Where a connection stands is kept for the guard's look.
    """

    _since = 0.0  # when the head began that is awaited, or the body
    _piece_at = 0.0  # when the last piece came
    _body_bytes = 0  # since then, or since reading was resumed
    _unread_bytes = 0  # of answers, at the last look
    _unread_at = 0.0  # since when they are as many
    _in_head = False
    _began = False  # in this piece
    _waiting_bytes = 0
    _piece_bytes = 0
    _is_refused = False

    def __init__(self, guard: HttpGuard, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._guard = guard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport = _Corked(self.transport, self.loop)  # type: ignore[assignment]
        self._since = self._piece_at = now = self.loop.time()
        if self._guard.is_full(cast("set[_Protocol]", self.connections), now):
            self._guard.count(Cut.FULL)
            self._refuse(too_many_connections(self._guard.limits.connections))

    def data_received(self, data: bytes) -> None:
        """Take a piece of what is sent, unless it is too much of a head."""
        self._began, self._piece_bytes = False, len(data)
        self._piece_at = self.loop.time()
        self._body_bytes += len(data)
        if self.timeout_keep_alive_task is not None:  # the first of a request
            self._since = self._piece_at
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
        self._since = self._piece_at

    def on_headers_complete(self) -> None:
        """Begin a request.

        Raises:
            _HeadTooLarge: The parser turns it into its own error, and that becomes an answer.
        """
        self._in_head = False
        self._since, self._body_bytes = self._piece_at, 0
        # Most heads come in one small piece: there is nothing to add up.
        if self._piece_bytes + self._waiting_bytes > MAX_HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES:
                self._waiting_bytes = size
                raise _HeadTooLarge
        super().on_headers_complete()

    def look(self, now: float) -> None:
        """End the connection if it has overstayed, with an answer where one can be given."""
        limits, why = self._guard.limits, self._overdue(now)
        if self._reads_nothing(now, limits.stall_s):
            self._guard.count(Cut.ANSWER)
            self.transport.abort()
        elif why is not None and not self.transport.is_closing():
            self._guard.count(why)
            if why is Cut.BODY and not self.cycle.response_started:
                self._refuse(too_slow(why, limits.stall_s))
            elif self._in_head:
                self._refuse(too_slow(why, limits.head_s))
            else:
                self.transport.close()

    def make_room(self) -> bool:
        """Close the connection if it is between two requests; say whether it was."""
        is_idle = self.timeout_keep_alive_task is not None and not self.transport.is_closing()
        if is_idle:
            self.transport.close()
        return is_idle

    def _overdue(self, now: float) -> Cut | None:
        """Say what of a request has taken too long to come."""
        limits, cycle = self._guard.limits, cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            is_idle = self.timeout_keep_alive_task is not None and not self._in_head
            return Cut.HEAD if not is_idle and now - self._since > limits.head_s else None
        if self._in_head or not cycle.more_body:  # the answer is our turn
            return None
        if self.flow.read_paused:  # it is we who do not read
            self._since, self._piece_at, self._body_bytes = now, now, 0
            return None
        allowed_s = limits.stall_s + self._body_bytes / LEAST_RATE
        is_late = now - self._piece_at > limits.stall_s or now - self._since > allowed_s
        return Cut.BODY if is_late else None

    def _reads_nothing(self, now: float, stall_s: float) -> bool:
        """Tell whether answers lie unread for too long."""
        unread = self.transport.get_write_buffer_size()
        if unread != self._unread_bytes or not unread:
            self._unread_bytes, self._unread_at = unread, now
        return now - self._unread_at > stall_s

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

    def __init__(self, app: ASGIApp, *, drain_s: float, guard: HttpGuard | None = None) -> None:
        """Set up; `drain_s` bounds the wait for requests under way at the end."""
        self._guard = HttpGuard(HttpLimits()) if guard is None else guard
        config = uvicorn.Config(
            app,
            loop="none",
            http=cast("type[_Protocol]", partial(_Protocol, self._guard)),
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
        connections = cast("set[_Protocol]", self.server_state.connections)
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._guard.run(connections))
            try:
                await self.serve(sockets=[bound])
            finally:
                looking.cancel()

    def end(self) -> None:
        """Stop soon: answer what is under way, take nothing more."""
        self.should_exit = True
