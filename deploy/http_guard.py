"""Connections that cost a gateway something and bring it nothing, ended.

uvicorn limits how long a connection may idle between requests, and nothing else: who sends half a
head, stalls in a body or reads no answer holds a connection for ever. Here one look a second goes
over all connections of the process; a request costs a reading of the clock for each piece that
comes in, and no timer. Durations are seconds, times those of the loop.
"""

import asyncio
import resource
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

LEAST_RATE: Final = 1024  # bytes a second of a body, on average, once it took as long as a stall
RESERVED_FILES: Final = 256  # for Postgres, NATS, logs
_MOST_LOOKS_S: Final = 1.0
_LEAST_LOOKS_S: Final = 0.01
_LOOKS: Final = 10  # in the shortest of the limits
_ROOM_EVERY_S: Final = 1.0


class Cut(StrEnum):
    """Why a connection was ended. A label of `hookline_connections_cut_total`."""

    FULL = "full"  # there were too many: it was refused
    IDLE = "idle"  # there were too many: it made room between two requests
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What a connection may take.

    Attributes:
        head_s: For the line and headers of a request, from its first byte (of the first request,
            from when the connection was opened) to their end.
        stall_s: For which a body may bring nothing, or an answer not be read on.
        connections: At a time, of the process.
    """

    head_s: float = 10.0
    stall_s: float = 30.0
    connections: int = 10_000


class Connection(Protocol):
    """What is looked at: a protocol of the server."""

    def look(self, now: float) -> None:
        """End it if it has overstayed."""

    def make_room(self) -> bool:
        """End it if it is idle; say whether it was."""
        ...


class HttpGuard:
    """Looks at the connections of one server. `count` is told of each that is cut, and why."""

    def __init__(
        self, limits: HttpLimits, *, count: Callable[[Cut], object] = lambda _why: None
    ) -> None:
        """Begin without connections."""
        self.limits = limits
        self.count = count
        self._made_room_at = -_ROOM_EVERY_S

    def is_full(self, connections: Collection[Connection], now: float) -> bool:
        """Tell whether there is one connection too many, after idle ones have made room."""
        number = len(connections)
        if number <= self.limits.connections:
            return False
        if now - self._made_room_at >= _ROOM_EVERY_S:  # a look at all of them, so not for each
            self._made_room_at = now
            for connection in list(connections):
                if connection.make_room():
                    self.count(Cut.IDLE)
                    number -= 1  # it is among them for a moment still
        return number > self.limits.connections

    async def run(self, connections: Collection[Connection]) -> None:
        """Look at all connections again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        shortest_s = min(self.limits.head_s, self.limits.stall_s)
        every_s = min(max(shortest_s / _LOOKS, _LEAST_LOOKS_S), _MOST_LOOKS_S)
        while True:
            await asyncio.sleep(every_s)
            now = loop.time()
            for connection in list(connections):
                connection.look(now)


def room_for(connections: int) -> int:
    """Give how many connections the process may have open, up to these; asks the system first."""
    wanted = connections + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(min(connections, soft - RESERVED_FILES), 1)
