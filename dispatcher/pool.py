"""Connections that wait for their next request, bounded in number and in age.

Connections in use are not counted: the dispatcher's caps on what is in flight bound those.
Durations are seconds of the monotonic clock.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic

from dispatcher.connection import Connection, Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections wait, and how long."""

    total: int = 1024
    per_origin: int = 16
    idle_s: float = 30.0
    max_age_s: float = 60.0  # then the name is dialled anew, whatever it resolves to by then
    sweep_s: float = 5.0  # between looks at what has waited too long


class Pool:
    """Keeps idle connections by origin; the most recently used one is taken first."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._waiting: dict[Origin, list[Connection]] = {}  # each list: the longest idle first
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, origin: Origin, addresses: Collection[str]) -> Connection | None:
        """Hand out a connection to one of `addresses`, or None; it may have died a moment ago."""
        waiting = self._waiting.get(origin)
        if not waiting:
            return None
        now = monotonic()
        for position in range(len(waiting) - 1, -1, -1):
            connection = waiting[position]
            if connection.address in addresses and now < connection.fit_until:
                del waiting[position]
                self._count -= 1
                return connection
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, or close it."""
        if not connection.is_open:
            return
        limits, now = self._limits, monotonic()
        waiting = self._waiting.get(connection.origin)
        if waiting is None:
            waiting = self._waiting[connection.origin] = []
        dies_at = connection.opened_at + limits.max_age_s
        if now >= dies_at or len(waiting) >= limits.per_origin:
            connection.abort()
            return
        connection.fit_until = min(now + limits.idle_s, dies_at)
        waiting.append(connection)
        self._count += 1
        if self._count > limits.total:
            self._make_room()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(limits.sweep_s, self._sweep)

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that has closed; not having it is no fault."""
        waiting = self._waiting.get(connection.origin, [])
        if connection in waiting:
            waiting.remove(connection)
            self._count -= 1

    def close(self) -> None:
        """Close every connection that waits."""
        for connection in self._all():
            self._drop(connection)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _make_room(self) -> None:
        """Close those that have waited longest: some at once, so that looking for them is rare."""
        oldest_first = sorted(self._all(), key=lambda connection: connection.fit_until)
        for connection in oldest_first[: self._limits.total // 16 + 1]:
            self._drop(connection)

    def _sweep(self) -> None:
        """Close what has waited too long, and look again while anything waits."""
        now = monotonic()
        for connection in self._all():
            if now >= connection.fit_until:
                self._drop(connection)
        self._waiting = {origin: waiting for origin, waiting in self._waiting.items() if waiting}
        self._sweeper = None
        if self._count:
            self._sweeper = asyncio.get_running_loop().call_later(self._limits.sweep_s, self._sweep)

    def _all(self) -> list[Connection]:
        return [connection for waiting in self._waiting.values() for connection in waiting]

    def _drop(self, connection: Connection) -> None:
        self.forget(connection)
        connection.abort()
