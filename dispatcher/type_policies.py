"""When messages of event types are tried again, by environment: kept current in memory.

What is given for an environment is one mapping that all of its apps share. It is read when the
first of them is, and changed in place when Postgres says that event types changed, so that nothing
else has to be made anew. Readings go one after the other: one that began before a change is
followed by another.
"""

import asyncio
from collections.abc import Collection, Mapping

from dispatcher.reach import when_reachable
from schema.retry import RetryPolicy
from schema.store import event_type
from schema.store.link import Pool

Policies = Mapping[str, RetryPolicy]


class TypePolicies:
    """The retry policies of event types, in memory."""

    def __init__(self, pool: Pool) -> None:
        """Know of no environment yet."""
        self._pool = pool
        self._known: dict[str, dict[str, RetryPolicy]] = {}
        self._stale: set[str] = set()
        self._some_stale = asyncio.Event()
        self._reading = asyncio.Lock()

    async def of(self, environment_ids: Collection[str]) -> Mapping[str, Policies]:
        """Give the policies by environment and event type."""
        if not self._known.keys() >= set(environment_ids):
            async with self._reading:
                await self._read(set(environment_ids) - self._known.keys())
        return {ident: self._known[ident] for ident in environment_ids}

    def changed(self, environment_id: str) -> None:
        """Note that event types of an environment were changed."""
        self._stale.add(environment_id)
        self._some_stale.set()

    def all_changed(self) -> None:
        """Note that changes may have been missed."""
        self._stale |= self._known.keys()
        self._some_stale.set()

    async def run(self) -> None:
        """Read what changed, for ever."""
        while True:
            await self._some_stale.wait()
            self._some_stale.clear()
            if not await when_reachable(self._read_stale) and self._stale:
                self._some_stale.set()

    async def _read_stale(self) -> None:
        async with self._reading:
            stale, self._stale = self._stale, set()
            try:
                await self._read(stale & self._known.keys())
            except BaseException:
                self._stale |= stale
                raise

    async def _read(self, environment_ids: Collection[str]) -> None:
        if not environment_ids:
            return
        async with self._pool.acquire() as link:
            read = await event_type.policies(link, environment_ids)
        for ident, policies in read.items():
            known = self._known.setdefault(ident, {})
            known.clear()
            known.update(policies)
