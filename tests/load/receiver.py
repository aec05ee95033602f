"""Endpoints that only note what comes: as little as one process can do with a request.

    python -m tests.load.receiver [certificate and key as PEM]

prints its port, then answers commands, one JSON object a line, until its input ends: `counts`,
`unique`, `reset`, and `dump` to a file. What came is read only when somebody asks.
"""

import asyncio
import gc
import json
import ssl
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from tests.load.payload import HEAD_BYTES, Kind, is_tenth, read_head

_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_LAST_ANSWER: Final = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
_FAILURE: Final = b"HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n"
_FAILURES: Final = 2
_LENGTH: Final = b"Content-Length: "
_KIND: Final = len("POST /")
_ENDPOINT: Final = slice(_KIND + 1, _KIND + 5)
_OPEN_AT_ONCE: Final = 4_096


class Log:
    """What came since the last reset: when, where to, and the beginnings of the bodies."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.arrivals_ns = array("q")
        self.endpoints = bytearray()
        self.heads = bytearray()
        self._failures = dict[bytes, int]()
        self._different = set[tuple[int, ...]]()
        self._looked_at = 0

    def fails(self, head: bytes) -> bool:
        """Tell whether this attempt of an event is one that fails, and count it."""
        if not is_tenth(head):
            return False
        before = self._failures.get(head, 0)
        self._failures[head] = before + 1
        return before < _FAILURES

    def different(self) -> int:
        """Count different deliveries; what was looked at before is not looked at again."""
        rows = self.rows(self._looked_at)
        self._looked_at += len(rows)
        self._different.update(row[2:] for row in rows)
        return len(self._different)

    def rows(self, begin: int = 0) -> list[tuple[int, int, int, int]]:
        """Give what came: arrival, intended time, number and endpoint of each request."""
        width = _ENDPOINT.stop - _ENDPOINT.start
        return [
            (
                arrival_ns,
                *read_head(bytes(self.heads[place * HEAD_BYTES : (place + 1) * HEAD_BYTES])),
                int(self.endpoints[place * width : (place + 1) * width]),
            )
            for place, arrival_ns in enumerate(self.arrivals_ns[begin:], begin)
        ]


class Connection(asyncio.Protocol):
    """One connection of a sender. It finds requests by their Content-Length, and parses no more."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._rest = b""
        self._first_byte_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if self._rest:
            data = self._rest + data
        else:
            self._first_byte_ns = now_ns
        at = 0
        while at < len(data) and (end := self._take(data, at)):
            at, self._first_byte_ns = end, now_ns
        self._rest = data[at:]

    def _take(self, data: bytes, at: int) -> int:
        """Note and answer the request that begins there; gives its end, or 0 if it is not whole."""
        content = data.find(b"\r\n\r\n", at) + 4
        if content < 4:
            return 0
        end = content + _length(data, at, content)
        if end > len(data):
            return 0
        log, head = self._log, data[content : content + HEAD_BYTES]
        log.arrivals_ns.append(self._first_byte_ns)
        log.endpoints += data[at + _ENDPOINT.start : at + _ENDPOINT.stop]
        log.heads += head
        kind = chr(data[at + _KIND])
        if kind == Kind.KEEP:
            self._transport.write(_ANSWER)
        elif kind == Kind.CLOSE:
            self._transport.write(_LAST_ANSWER)
            self._transport.close()
        elif kind == Kind.FAIL:
            self._transport.write(_FAILURE if log.fails(head) else _ANSWER)
        return end


class Clerk:
    """Answers commands about what came."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def answer(self, do: str, file: str = "") -> dict[str, Any]:
        """Do what a command asks."""
        if do == "reset":
            self._log.reset()
        elif do == "unique":
            return {"unique": self._log.different()}
        elif do == "dump":
            with Path(file).open("wb") as out:
                for row in self._log.rows():
                    array("q", row).tofile(out)
        arrivals = self._log.arrivals_ns
        return {"received": len(arrivals), "last_ns": arrivals[-1] if arrivals else 0}


def _length(data: bytes, at: int, content: int) -> int:
    found = data.find(_LENGTH, at, content)
    if found < 0:  # written in another way
        found = data[:content].lower().find(_LENGTH.lower(), at)
    return int(data[found + len(_LENGTH) : data.find(b"\r", found)])


async def _commands(answer: Callable[..., dict[str, Any]]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps(answer(**json.loads(line))), flush=True)


async def main(certificate: str | None) -> None:
    """Serve until whoever started us is gone."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    log = Log()
    gc.disable()  # nothing here goes in circles, and a collection would be somebody's latency
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(log), "127.0.0.1", 0, backlog=_OPEN_AT_ONCE, ssl=context
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await _commands(Clerk(log).answer)
    server.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
