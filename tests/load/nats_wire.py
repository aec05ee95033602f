"""The NATS protocol by hand, on a blocking socket: what publishes at its time and costs little.

A client library takes more CPU for a publish than everything else here. Every publish asks for the
stream's acknowledgement; `settle` waits until all are there.
"""

import itertools
import json
import select
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from tests.load.waiting import LoadFault

_READ_BYTES: Final = 256 * 1024
_ACK_S: Final = 30.0
_INBOX: Final = b"_INBOX.bench"


class NatsWire:
    """A connection to a NATS server. Not safe for threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        address = (str(parts.hostname), int(parts.port or 4222))
        self._socket = socket.create_connection(address, timeout=_ACK_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._batches = itertools.count(1)
        self.sent = self.acknowledged = 0
        about = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        login = {"user": parts.username, "pass": parts.password}
        self._inbox = b"%b.%d" % (_INBOX, id(self))
        self._send(
            b"CONNECT %b\r\nSUB %b 1\r\n" % (json.dumps(about | login).encode(), self._inbox)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def publish(self, subject: bytes, body: bytes) -> None:
        """Send an event; its acknowledgement is read later."""
        self.sent += 1
        self._send(b"PUB %b %b %d\r\n%b\r\n" % (subject, self._inbox, len(body), body))

    def publish_batch(self, subjects: Sequence[bytes], bodies: Sequence[bytes]) -> None:
        """Send an atomic batch and wait until the stream has it."""
        batch, last = next(self._batches), len(bodies)
        frames = []
        for place, (subject, body) in enumerate(zip(subjects, bodies, strict=True), 1):
            commit = b"Nats-Batch-Commit: 1\r\n" if place == last else b""
            head = b"NATS/1.0\r\nNats-Batch-Id: %b-%d\r\nNats-Batch-Sequence: %d\r\n%b\r\n" % (
                *(self._inbox, batch, place),
                commit,
            )
            reply = self._inbox if place in (1, last) else b""
            sizes = (len(head), len(head) + len(body))
            frames.append(b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, reply, *sizes, head, body))
        self.sent += 1
        self._send(b"".join(frames))
        self.settle()

    def wait_until(self, at_ns: int) -> None:
        """Wait for a moment, and read meanwhile what comes."""
        while (left_ns := at_ns - time.monotonic_ns()) > 0:
            self._read(left_ns / 1e9)

    def settle(self) -> None:
        """Wait until everything is acknowledged.

        Raises:
            LoadFault: It was refused, or nobody answered.
        """
        until_s = time.monotonic() + _ACK_S
        while self.acknowledged < self.sent:
            if time.monotonic() > until_s:
                raise LoadFault(f"{self.sent - self.acknowledged} publishes not acknowledged")
            self._read(1.0)

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _read(self, most_s: float) -> None:
        readable, _, _ = select.select([self._socket], [], [], most_s)
        if not readable:
            return
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise LoadFault("NATS closed the connection")
        self._received += data
        while self._take():
            pass

    def _take(self) -> bool:
        """Take one message of the server's off what was received; False if none is whole."""
        line, end, rest = self._received.partition(b"\r\n")
        if not end:
            return False
        words = line.split(b" ")
        if words[0] == b"MSG":
            size = int(words[-1])
            if len(rest) < size + 2:
                return False
            self._acknowledge(rest[:size])
            rest = rest[size + 2 :]
        elif words[0] == b"PING":
            self._send(b"PONG\r\n")
        elif words[0] in {b"HMSG", b"-ERR"}:  # nobody listens, or we said something wrong
            raise LoadFault(f"NATS answered {self._received[:200]!r}")
        self._received = rest
        return True

    def _acknowledge(self, answer: bytes) -> None:
        if b'"error"' in answer:
            raise LoadFault(f"the stream refused: {answer.decode()}")
        if answer:  # the first of a batch is answered with nothing
            self.acknowledged += 1
