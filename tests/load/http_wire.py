"""HTTP by hand: requests written beforehand, answers found by their Content-Length."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

from tests.load.waiting import LoadFault

_STATUS: Final = slice(9, 12)
_LENGTH: Final = b"content-length: "


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Line(asyncio.Protocol):
    """One kept connection; one exchange at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""
        self._waiter: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = read_answer(self._received)
        if answer is not None and self._waiter is not None and not self._waiter.done():
            self._received = b""
            self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(LoadFault(f"the gateway closed a connection: {exc!r}"))

    def close(self) -> None:
        """Close it."""
        self._transport.close()


def read_answer(received: bytes) -> Answer | None:
    """Read an answer; None while it is not whole."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    found = head.lower().find(_LENGTH)
    length = int(head[found + len(_LENGTH) :].partition(b"\r")[0]) if found >= 0 else 0
    return Answer(int(head[_STATUS]), body) if len(body) >= length else None


def write_request(
    url: str, key: str, method: str, path: str, body: bytes = b"", *, idempotency_key: str = ""
) -> bytes:
    """Write a request to the gateway at `url`."""
    typed = "Content-Type: application/json\r\n" if body else ""
    if idempotency_key:
        typed += f"idempotency-key: {idempotency_key}\r\n"
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Authorization: Bearer {key}\r\n{typed}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def connected(url: str, number: int) -> AsyncIterator[Sequence[Line]]:
    """Open so many connections to the gateway at `url`."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), int(parts.port or 80)
    loop = asyncio.get_running_loop()
    lines = list[Line]()
    try:
        for _ in range(number):
            _, line = await loop.create_connection(Line, host, port)
            lines.append(line)
        yield lines
    finally:
        for line in lines:
            line.close()
