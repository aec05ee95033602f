"""Hears what changed: one connection to Postgres that listens, and is made again when it breaks.

While it is down the caches know that they are deaf; once it is up they start from nothing.
"""

import asyncio
import logging
from typing import Final

import asyncpg

from gateway.appbook import AppBook
from gateway.keyring import KeyRing
from schema.errors import Unavailable
from schema.store.link import Link, Pool
from schema.store.pool import reachable

CHANNEL: Final = "hookline_changed"
_HEARTBEAT_S: Final = 5.0  # a connection that does not answer within one is given up
_PAUSE_S: Final = 0.5
_log = logging.getLogger(__name__)


class Listener:
    """Drops from the caches what Postgres says has changed."""

    def __init__(self, pool: Pool, *, keys: KeyRing, apps: AppBook) -> None:
        """Serve these caches; they stay deaf until `run`."""
        self._pool = pool
        self._keys = keys
        self._apps = apps
        self._caches = (keys.keys, keys.environments, apps.cache)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async with reachable():
                    await self._listen()
            except (Unavailable, asyncpg.PostgresError) as error:
                _log.warning("not listening for changes, will try again: %s", error)
            finally:
                self._hear(hears=False)
            await asyncio.sleep(_PAUSE_S)

    def heard(self, payload: str) -> None:
        """Take in one notification: `<table>:<tenant>`."""
        table, _, tenant = payload.partition(":")
        match table:
            case "app":
                self._apps.cache.drop(tenant)
            case "api_key":
                self._keys.drop(tenant)
            case "environment":
                self._keys.drop_environment(tenant)
            case _:
                pass  # the gateway keeps nothing of the other tables

    async def _listen(self) -> None:
        broken = asyncio.Event()
        async with self._pool.acquire(timeout=_HEARTBEAT_S) as connection:

            def on_end(*_: object) -> None:
                broken.set()

            connection.add_termination_listener(on_end)
            await connection.add_listener(CHANNEL, self._on_notify)
            self._hear(hears=True)
            try:
                await _until(broken, connection)
            finally:
                self._hear(hears=False)
                connection.remove_termination_listener(on_end)
                await connection.remove_listener(CHANNEL, self._on_notify)

    def _on_notify(self, *heard: object) -> None:
        self.heard(str(heard[-1]))

    def _hear(self, *, hears: bool) -> None:
        for cache in self._caches:
            cache.clear()
            cache.hears = hears


async def _until(broken: asyncio.Event, connection: Link) -> None:
    """Wait for the end of a connection; ask it now and then whether it is still there."""
    while True:
        try:
            async with asyncio.timeout(_HEARTBEAT_S):
                await broken.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=_HEARTBEAT_S)
        else:
            return
