"""An endpoint that only counts and stamps: as little as one process can do with a request.

    python -m tests.load.receiver     prints its port and serves until its input closes

It takes POST `/hook/<number of the endpoint>` with the bodies of `body`. `GET /counts`,
`/latencies` and `/reset` ask about what came; latencies run from the time in a body to the first
byte of its request, in nanoseconds.
"""

import asyncio
import json
import sys
import time
from array import array
from typing import Final, cast

import httptools
import uvloop

BODY_BYTES: Final = 512
FIRST: Final = 10_000_000  # numbers of events have eight digits
_AT: Final = slice(6, 25)
_NUMBER: Final = slice(30, 38)
MOST_EVENTS: Final = 1_000_000  # of one run
MOST_ENDPOINTS: Final = 20
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


def body(at_ns: int, number: int) -> bytes:
    """Make a payload: when it was to be published, by the wall clock, and which one it is."""
    head = b'{"at":%d,"n":%d,"pad":"' % (at_ns, FIRST + number)
    return head.ljust(BODY_BYTES - 2, b"x") + b'"}'


class Tally:
    """What came since the last reset."""

    def __init__(self) -> None:
        self.received = self.unique = self.last_ns = 0
        self.latencies_ns = array("q")
        self._seen = bytearray(MOST_EVENTS * MOST_ENDPOINTS)

    def take(self, endpoint: int, first_byte_ns: int, head: bytes) -> None:
        """Count a request by the beginning of its body."""
        self.received += 1
        self.last_ns = first_byte_ns
        delivery = (int(head[_NUMBER]) - FIRST) * MOST_ENDPOINTS + endpoint
        if not self._seen[delivery]:
            self._seen[delivery] = 1
            self.unique += 1
            self.latencies_ns.append(first_byte_ns - int(head[_AT]))

    def counts(self) -> dict[str, int]:
        """Give the counts, and when the last request came."""
        return {"received": self.received, "unique": self.unique, "last_ns": self.last_ns}


class Connection(asyncio.Protocol):
    """One connection of a sender, or of who asks."""

    tally = Tally()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._now_ns = time.time_ns()
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._first_byte_ns = self._now_ns
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._body:
            endpoint = int(self._url.rpartition(b"/")[2])
            Connection.tally.take(endpoint, self._first_byte_ns, self._body)
            self._transport.write(_ANSWER)
        else:
            told = json.dumps(self._told()).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told))
            self._transport.write(told)

    def _told(self) -> object:
        if self._url == b"/latencies":
            return Connection.tally.latencies_ns.tolist()
        if self._url == b"/reset":
            Connection.tally = Tally()
        return Connection.tally.counts()


async def main() -> None:
    """Serve until whoever started us is gone."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
