"""Connections that wait for their next request, bounded in number and in age.

Connections in use are not counted: the dispatcher's caps on what is in flight bound those.
Durations are seconds of the monotonic clock.
"""

import asyncio
from collections import OrderedDict
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
        self._by_origin: dict[Origin, list[Connection]] = {}
        self._idle_since: OrderedDict[Connection, float] = OrderedDict()  # the longest idle first
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle_since)

    def take(self, origin: Origin, addresses: Collection[str]) -> Connection | None:
        """Hand out a connection to one of `addresses`, or None."""
        now = monotonic()
        for connection in reversed(self._by_origin.get(origin, ())):
            if connection.address in addresses and self._is_fit(connection, now):
                self.forget(connection)
                return connection
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, or close it."""
        limits = self._limits
        if not self._is_fit(connection, now := monotonic()):
            connection.abort()
            return
        if len(self._by_origin.get(connection.origin, ())) >= limits.per_origin:
            connection.abort()
            return
        if len(self._idle_since) >= limits.total:
            self._close(next(iter(self._idle_since)))
        self._by_origin.setdefault(connection.origin, []).append(connection)
        self._idle_since[connection] = now
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(limits.sweep_s, self._sweep)

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that was taken or has closed; not having it is no fault."""
        if self._idle_since.pop(connection, None) is None:
            return
        waiting = self._by_origin[connection.origin]
        waiting.remove(connection)
        if not waiting:
            del self._by_origin[connection.origin]

    def close(self) -> None:
        """Close every connection that waits."""
        for connection in list(self._idle_since):
            self._close(connection)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _is_fit(self, connection: Connection, now: float) -> bool:
        limits = self._limits
        idle_since = self._idle_since.get(connection, now)
        return (
            connection.is_open
            and now - idle_since < limits.idle_s
            and now - connection.opened_at < limits.max_age_s
        )

    def _sweep(self) -> None:
        """Close what has waited too long, and look again while anything waits."""
        self._sweeper = None
        now = monotonic()
        for connection in list(self._idle_since):
            if not self._is_fit(connection, now):
                self._close(connection)
        if self._idle_since:
            self._sweeper = asyncio.get_running_loop().call_later(self._limits.sweep_s, self._sweep)

    def _close(self, connection: Connection) -> None:
        self.forget(connection)
        connection.abort()
