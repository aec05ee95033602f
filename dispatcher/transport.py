"""Sends one request to a checked address and reads its answer: httpx's transport, made for this.

HTTP/1.1 on asyncio protocols and httptools, because httpx's own costs fifty times the CPU.
Never resolves, never follows, never decodes, keeps no cookies, obeys no header of an answer; one
deadline spans connecting, TLS, sending and reading. A request says in `extensions` what is to be
done:

    url: EndpointUrl              where to
    addresses: tuple[str, ...]    what may be dialled, as the guard gave it
    deadline_s: float             for everything, from now
    head: bytes                   optional: what `request_head` made for this endpoint, kept
    dns_s: float                  optional: what resolving took; handed through to the phases
    on_sending: Callable          optional: called when an open connection is given the request

`Host`, `Accept-Encoding` and `Content-Length` are the transport's to write. With `head`,
`request.headers` are only those that differ from attempt to attempt.

The answer's `extensions` hold `phases`, `address`, `reused`, `tls` (a version or None), `truncated`
and `body`: the bytes as they came. Read those, not `aread()`, which would decode them.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import httpx

from dispatcher.answer import Answer, Bounds
from dispatcher.connection import Connection, Stale
from dispatcher.dial import Dialler
from dispatcher.fault import DeliveryFault
from dispatcher.pool import Pool, PoolLimits
from schema.address import EndpointUrl

# The transport's own, whatever the request says: they decide where a request goes, where it ends
# and what may come back.
_OWN_HEADERS = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"accept-encoding"}
)
_HEADER_LINES = re.compile(
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*"  # RFC 9110, names and values
)


def request_head(
    url: EndpointUrl, headers: Iterable[tuple[bytes, bytes]], method: str = "POST"
) -> bytes:
    """Write a request line and the headers that stay the same, for `extensions["head"]`.

    Raises:
        httpx.LocalProtocolError: A header cannot be sent as it is.
    """
    if not method.isalpha():
        raise httpx.LocalProtocolError("a method is a word")
    return b"%b %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n%b" % (
        method.encode("ascii"),
        url.target,
        url.authority,
        _header_lines(headers),
    )


class Transport(httpx.AsyncBaseTransport):
    """Every connection of one dispatcher. Belongs to one event loop."""

    def __init__(
        self,
        *,
        permits: Callable[[str], bool],
        tls: ssl.SSLContext,
        bounds: Bounds | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        """Take what judges peers (`Guard.permits`) and what verifies them (`tls_context`)."""
        self._dialler = Dialler(permits=permits, tls=tls, bounds=bounds or Bounds())
        self._pool = Pool(limits or PoolLimits())
        self._open: set[Connection] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Transport [{len(self._open)} open, {len(self._pool)} idle]>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return the answer.

        It may arrive twice: a kept connection that dies before a byte of the answer is
        indistinguishable from one that was closed in time, and the request is sent once more.

        Raises:
            DeliveryFault: There is no answer.
            httpx.LocalProtocolError: The request cannot be sent as it is.
        """
        order = request.extensions
        url: EndpointUrl = order["url"]
        addresses: tuple[str, ...] = order["addresses"]
        deadline_at = asyncio.get_running_loop().time() + order["deadline_s"]
        stream = request.stream
        body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
        wire = _head(request, url, body), body
        try:
            connection = self._pool.take((url.scheme, url.host, url.port), addresses)
            if connection is None:
                connection = await self._dial(url, addresses, deadline_at)
            try:
                _tell(order)
                answer = await connection.exchange(wire, deadline_at)
            except Stale:
                connection = await self._dial(url, addresses, deadline_at)
                _tell(order)
                answer = await connection.exchange(wire, deadline_at)
        except DeliveryFault as fault:
            fault.phases = fault.phases._replace(dns_s=order.get("dns_s"))
            raise
        self._pool.give(connection)
        return _response(answer, connection, order.get("dns_s"))

    async def aclose(self) -> None:
        """Close every connection; exchanges under way end as faults."""
        self._is_closed = True
        self._pool.close()
        closing = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.abort()
        if closing:
            await asyncio.wait(closing)

    async def _dial(
        self, url: EndpointUrl, addresses: tuple[str, ...], deadline_at: float
    ) -> Connection:
        connection = await self._dialler.open(url, addresses, deadline_at)
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._forget(connection))
        if self._is_closed:
            connection.abort()
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._pool.forget(connection)


def _tell(order: Mapping[str, Any]) -> None:
    on_sending: Callable[[], None] | None = order.get("on_sending")
    if on_sending is not None:
        on_sending()


def _response(answer: Answer, connection: Connection, dns_s: float | None) -> httpx.Response:
    return httpx.Response(
        answer.status,
        headers=answer.headers,
        stream=httpx.ByteStream(answer.body),
        extensions={
            "phases": connection.phases(dns_s),
            "address": connection.address,
            "reused": connection.is_reused,
            "tls": connection.tls_version,
            "truncated": answer.truncated,
            "body": answer.body,
        },
    )


def _head(request: httpx.Request, url: EndpointUrl, body: bytes) -> bytes:
    headers = request.headers.raw
    head = request.extensions.get("head")
    if head is None:
        head = request_head(url, headers, request.method)
    else:
        head += _header_lines(headers)
    return b"%bContent-Length: %d\r\n\r\n" % (head, len(body))


def _header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = [
        b"%b: %b\r\n" % (name, value) for name, value in headers if name.lower() not in _OWN_HEADERS
    ]
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or not _HEADER_LINES.fullmatch(block):
        raise httpx.LocalProtocolError("a header has a name or a value that cannot be sent")
    return block
