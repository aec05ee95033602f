"""Sends one request to a checked address and reads its answer.

HTTP/1.1 on asyncio protocols and httptools, because httpx's own costs fifty times the CPU.
Never resolves, never follows, never decodes, keeps no cookies, obeys no header of an answer; one
deadline spans connecting, TLS, sending and reading. `post` is what the dispatcher calls;
`handle_async_request` is the same for whoever has an `httpx.Request`.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable

import httpx

from dispatcher.answer import Answer, Bounds
from dispatcher.connection import Connection, Stale
from dispatcher.dial import Dialler
from dispatcher.egress import Proxy
from dispatcher.fault import DeliveryFault
from dispatcher.pool import Pool, PoolLimits
from dispatcher.post import Post, Reply
from dispatcher.tls import Contexts
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
    """Write a request line and the headers that stay the same, for `Post.head`.

    Raises:
        httpx.LocalProtocolError: A header cannot be sent as it is.
    """
    if not method.isalpha():
        raise httpx.LocalProtocolError("a method is a word")
    return b"%b %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n%b" % (
        method.encode("ascii"),
        url.target,
        url.authority,
        header_lines(headers),
    )


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write headers as they go over the wire, less those that are the transport's to write.

    Raises:
        httpx.LocalProtocolError: One of them cannot be sent as it is.
    """
    lines = [
        b"%b: %b\r\n" % (name, value) for name, value in headers if name.lower() not in _OWN_HEADERS
    ]
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or not _HEADER_LINES.fullmatch(block):
        raise httpx.LocalProtocolError("a header has a name or a value that cannot be sent")
    return block


class Transport(httpx.AsyncBaseTransport):
    """Every connection of one dispatcher. Belongs to one event loop."""

    def __init__(
        self,
        *,
        permits: Callable[[str], bool],
        tls: ssl.SSLContext,
        bounds: Bounds | None = None,
        limits: PoolLimits | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """Take what judges peers (`Guard.permits`) and what verifies them (`client_context`).

        With a `proxy`, every connection is a tunnel through it to the judged address.
        """
        self._contexts = Contexts()
        self._dialler = Dialler(
            permits=permits,
            tls=tls,
            contexts=self._contexts,
            bounds=bounds or Bounds(),
            proxy=proxy,
        )
        self._pool = Pool(limits or PoolLimits())
        self._open: set[Connection] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Transport [{len(self._open)} open, {len(self._pool)} idle]>"

    async def post(self, post: Post) -> Reply:
        """Send a request and return the answer.

        It may arrive twice: a kept connection that dies before a byte of the answer is
        indistinguishable from one that was closed in time, and the request is sent once more.

        Raises:
            DeliveryFault: There is no answer.
        """
        url, body, tls = post.url, post.body, post.tls
        deadline_at = asyncio.get_running_loop().time() + post.deadline_s
        head = b"%b%bContent-Length: %d\r\n\r\n" % (post.head, post.lines, len(body))
        origin = (url.scheme, url.host, url.port, "" if tls is None else tls.key)
        connection = self._pool.take(origin, post.addresses)
        try:
            if connection is None:
                connection = await self._dial(post, deadline_at)
            try:
                answer = await _exchange(connection, post, head, deadline_at)
            except Stale:
                connection = await self._dial(post, deadline_at)
                answer = await _exchange(connection, post, head, deadline_at)
        except DeliveryFault as fault:
            fault.phases = fault.phases._replace(dns_s=post.dns_s)
            raise
        except asyncio.CancelledError:
            if connection is not None:
                connection.abort()
            raise
        self._pool.give(connection)
        return Reply(
            answer.status,
            answer.headers,
            answer.body,
            answer.truncated,
            connection.phases(post.dns_s),
            connection.address,
            connection.is_reused,
            connection.tls_version,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send an `httpx.Request`; its `extensions` hold what else there is of a `Post`.

        Without a `head` among them, one is made of the URL and the request's own headers; with
        one, those are the lines of this attempt. The answer's `extensions` hold `phases`,
        `address`, `reused`, `tls`, `truncated` and `body`: read that, as `aread()` would decode.

        Raises:
            DeliveryFault: There is no answer.
            httpx.LocalProtocolError: The request cannot be sent as it is.
        """
        order, stream = request.extensions, request.stream
        headers = request.headers.raw
        head: bytes | None = order.get("head")
        reply = await self.post(
            Post(
                order["url"],
                order["addresses"],
                order["deadline_s"],
                request_head(order["url"], headers, request.method) if head is None else head,
                b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread(),
                b"" if head is None else header_lines(headers),
                order.get("dns_s"),
                order.get("on_sending"),
                order.get("tls"),
            )
        )
        return _response(reply)

    async def aclose(self) -> None:
        """Close every connection; exchanges under way end as faults."""
        self._is_closed = True
        self._pool.close()
        self._contexts.close()
        closing = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.abort()
        if closing:
            await asyncio.wait(closing)

    async def _dial(self, post: Post, deadline_at: float) -> Connection:
        connection = await self._dialler.open(post.url, post.addresses, deadline_at, post.tls)
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._forget(connection))
        if self._is_closed:
            connection.abort()
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._pool.forget(connection)


def _exchange(
    connection: Connection, post: Post, head: bytes, deadline_at: float
) -> "asyncio.Future[Answer]":
    if post.on_sending is not None:
        post.on_sending()
    return connection.exchange(head, post.body, deadline_at)


def _response(reply: Reply) -> httpx.Response:
    return httpx.Response(
        reply.status,
        headers=reply.headers,
        stream=httpx.ByteStream(reply.body),
        extensions={
            "phases": reply.phases,
            "address": reply.address,
            "reused": reply.reused,
            "tls": reply.tls,
            "truncated": reply.truncated,
            "body": reply.body,
        },
    )
