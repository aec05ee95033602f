"""Hears what changed: one connection that listens, and is made again when it breaks.

Every process that caches configuration has one. While it is down its caches know that they are
deaf; once it is up again they start from nothing, as what was missed is not known.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from schema.errors import Unavailable
from schema.store.link import Link, Pool
from schema.store.pool import reachable

CHANNEL: Final = "hookline_changed"
HEARTBEAT_S: Final = 5.0  # a connection that does not answer within one is given up
_PAUSE_S: Final = 0.5
_log = logging.getLogger(__name__)


class Changes:
    """Tells of each `<table>:<tenant>` that a trigger of the configuration tables rang for."""

    def __init__(
        self, pool: Pool, *, on_change: Callable[[str, str], None], on_break: Callable[[], None]
    ) -> None:
        """Be deaf until `run`.

        Args:
            pool: Lends one connection for as long as it lives.
            on_change: Told of the table and the tenant.
            on_break: Told whenever changes may have been missed; `hears` says whether they arrive
                from now on.
        """
        self._pool = pool
        self._on_change = on_change
        self._on_break = on_break
        self._link: Link | None = None
        self._lock = asyncio.Lock()

    @property
    def hears(self) -> bool:
        """Whether changes arrive at the moment."""
        return self._link is not None

    async def sync(self) -> None:
        """Return once every change that was committed before this call has been told.

        Postgres delivers what is pending before it answers a query on the same connection. While
        we are deaf all caches start anew instead.
        """
        link = self._link
        if link is None:
            self._on_break()
            return
        try:
            async with self._lock:
                await link.execute("SELECT 1", timeout=HEARTBEAT_S)
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
            self._on_break()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async with reachable():
                    await self._listen()
            except (Unavailable, asyncpg.PostgresError) as error:
                _log.warning("not listening for changes, will try again: %r", error.__cause__)
            await asyncio.sleep(_PAUSE_S)

    async def _listen(self) -> None:
        broken = asyncio.Event()

        def on_end(*_: object) -> None:
            broken.set()

        async with self._pool.acquire(timeout=HEARTBEAT_S) as link:
            link.add_termination_listener(on_end)
            await link.add_listener(CHANNEL, self._heard)
            self._link = link
            self._on_break()
            try:
                await self._until(broken)
            finally:
                self._link = None
                self._on_break()
                with suppress(asyncpg.InterfaceError):  # one that broke is the pool's already
                    link.remove_termination_listener(on_end)
                    await link.remove_listener(CHANNEL, self._heard)

    async def _until(self, broken: asyncio.Event) -> None:
        """Wait for the end of the connection; ask it now and then whether it is still there."""
        while not broken.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await broken.wait()
            except TimeoutError:
                async with self._lock:
                    if self._link is not None:
                        await self._link.execute("SELECT 1", timeout=HEARTBEAT_S)

    def _heard(self, *heard: object) -> None:
        table, _, tenant = str(heard[-1]).partition(":")
        self._on_change(table, tenant)
