"""Reads HTTP/1.1 answers out of bytes, within bounds. Does no I/O.

The parser is llhttp in its strict mode: it refuses a second Content-Length, one beside a
Transfer-Encoding, folded headers, bare line feeds and whatever else two parsers may read
differently. What it does not limit is limited here. The rule for a receiver that misbehaves: until
the head is complete it is a fault; from then on the status counts, and the body is marked
truncated. Nothing is decoded, nothing in a header is obeyed.

Receivers mostly repeat themselves: what is byte for byte the former answer of a connection is not
parsed again.
"""

from dataclasses import dataclass
from typing import NamedTuple

import httptools

from dispatcher.fault import DeliveryFault

_START = b"HTTP/1."
_FIRST_FINAL_STATUS = 200
_KEPT_BYTES = 4096  # of a former answer, at most
_LENGTH_HEADERS = (b"content-length", b"transfer-encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of one answer is read; what goes past it ends the connection."""

    head_bytes: int = 64 * 1024  # status line and headers, those of interim answers included
    headers: int = 128
    interims: int = 8  # 1xx answers before the real one
    body_bytes: int = 64 * 1024
    chunks: int = 1024
    wire_bytes: int = 256 * 1024  # all of it: bounds what chunk extensions and trailers may add


class Answer(NamedTuple):
    """What a receiver said. A named tuple because one is made per attempt."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    truncated: bool  # more was sent or promised than `body` holds
    keep_alive: bool


class AnswerReader:
    """Takes the bytes of one connection, one answer after the other."""

    __slots__ = (
        "_body",
        "_bounds",
        "_chunks",
        "_complete",
        "_data",
        "_fault",
        "_former",
        "_former_data",
        "_headers",
        "_in_interim",
        "_interims",
        "_keep_alive",
        "_parser",
        "_status",
        "_truncated",
        "fed_bytes",
    )

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._parser = httptools.HttpResponseParser(self)
        self._former_data = b""
        self._former: Answer | None = None
        self.begin()

    def begin(self) -> None:
        """Expect a new answer; only after one that said `keep_alive`."""
        self.fed_bytes = 0
        self._data = b""  # the answer, if it came in one piece
        self._status = 0  # known once the head is complete
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._chunks = 0
        self._interims = 0
        self._in_interim = False
        self._complete = False
        self._truncated = False
        self._keep_alive = False
        self._fault: DeliveryFault | None = None

    @property
    def head_is_complete(self) -> bool:
        """Whether the status is known."""
        return self._status > 0

    def feed(self, data: bytes) -> bool:
        """Take what arrived; say whether the answer is complete.

        Raises:
            DeliveryFault: It is no HTTP/1.1 answer, or its head is too large.
        """
        if not self.fed_bytes:
            self._data = data
            if data == self._former_data:
                self.fed_bytes = len(data)
                return True
            if not _START.startswith(data[: len(_START)]):
                raise DeliveryFault("protocol", "what came back is not HTTP/1.1")
        self.fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._stop(f"the answer is not valid HTTP/1.1: {error}")
        except httptools.HttpParserUpgrade:
            self._stop("the receiver switched to another protocol")
        if not self._complete:
            self._check_size()
        return self._complete

    def end(self, *, cleanly: bool) -> Answer:
        """Return the answer whose head is complete, after the peer is gone."""
        if not self._complete:
            promised = any(name.lower() in _LENGTH_HEADERS for name, _ in self._headers)
            self._truncated = promised or not cleanly
            self._keep_alive = False
        return self.answer()

    def answer(self) -> Answer:
        """Return the complete answer."""
        if self._former is not None and self._data == self._former_data:
            return self._former
        keep_alive = self._keep_alive and not self._truncated
        answer = Answer(self._status, self._headers, bytes(self._body), self._truncated, keep_alive)
        if keep_alive and self.fed_bytes == len(self._data) <= _KEPT_BYTES:
            self._former_data, self._former = self._data, answer
        return answer

    # The parser calls what follows. Raising ends its run over the data at hand.

    def on_message_begin(self) -> None:
        """Stop at bytes that nobody asked for."""
        if self._complete:
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is dropped."""
        if not self._status:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the status, unless it is an interim one, and hold the head to its bounds."""
        bounds, headers = self._bounds, self._headers
        if len(headers) > bounds.headers:
            self._refuse(DeliveryFault("too_large", "the answer has too many headers"))
        if self.fed_bytes > bounds.head_bytes:  # else it cannot be
            size = sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)
            if size > bounds.head_bytes:
                self._refuse(DeliveryFault("too_large", "the answer's head is too large"))
        status = self._parser.get_status_code()
        self._in_interim = 0 < status < _FIRST_FINAL_STATUS
        if not status:
            self._refuse(DeliveryFault("protocol", "the answer has no status"))
        if not self._in_interim:
            self._status = status

    def on_body(self, body: bytes) -> None:
        """Keep the body up to its bound; the rest is neither kept nor waited for."""
        room = self._bounds.body_bytes - len(self._body)
        if len(body) <= room:
            self._body += body
            return
        self._body += body[:room]
        self._truncate()

    def on_chunk_header(self) -> None:
        """Count chunks: a body of many small ones costs more time than it is worth."""
        self._chunks += 1
        if self._chunks > self._bounds.chunks:
            self._truncate()

    def on_message_complete(self) -> None:
        """Finish the answer, or go on after an interim one."""
        if not self._in_interim:
            self._keep_alive = self._parser.should_keep_alive()
            self._complete = True
            return
        self._headers.clear()
        self._interims += 1
        if self._interims > self._bounds.interims:
            self._refuse(DeliveryFault("protocol", "too many interim answers"))

    def _check_size(self) -> None:
        if not self._status and self.fed_bytes > self._bounds.head_bytes:
            raise DeliveryFault("too_large", "the answer's head is too large")
        if self.fed_bytes > self._bounds.wire_bytes:
            self._complete = self._truncated = True

    def _truncate(self) -> None:
        self._complete = self._truncated = True
        raise _Enough

    def _refuse(self, fault: DeliveryFault) -> None:
        self._fault = fault
        raise _Enough

    def _stop(self, detail: str) -> None:
        """The parser gave up, by itself or because a callback told it to."""
        if self._fault is not None:
            raise self._fault
        if not self._complete:
            raise DeliveryFault("protocol", detail)
        self._keep_alive = False


class _Enough(Exception):
    """Tells the parser to stop; never leaves this module."""
