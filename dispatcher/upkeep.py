"""What keeps the tables in shape: partitions made ahead, old rows dropped, by one at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from schema import migrate
from schema.errors import Unavailable
from schema.store import partition, task, upkeep
from schema.store.link import Link, Pool
from schema.store.pool import reachable

EVERY_S: Final = 600.0
KEPT_TASKS: Final = timedelta(days=90)
KEPT_KEYS: Final = timedelta(hours=12)
LETTERS: Final = 1_000  # that are dropped in a transaction
STRAYS: Final = 1_000  # rows of a table that are, if no day's partition holds them
PAYLOADS: Final = 500  # that are forgotten in one
EXPIRE_EVERY_S: Final = 30.0
_log = logging.getLogger(__name__)


class Upkeep:
    """Makes and prunes."""

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Callable[[], datetime],
        retention_days: int,
        dead_letter_retention_days: int = 90,
    ) -> None:
        """Keep messages, deliveries and attempts for some days, dead letters for others.

        A dead letter's days begin anew with whatever is done to it.
        """
        self._pool = pool
        self._clock = clock
        self._retention_days = retention_days
        self._dead_letter_retention_days = dead_letter_retention_days

    async def run(self) -> None:
        """Keep up, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again(self.once, EVERY_S))
            group.create_task(self._again_and_again(self.expire, EXPIRE_EVERY_S))

    async def _again_and_again(self, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            try:
                async with reachable():
                    await work()
            except (Unavailable, asyncpg.PostgresError) as error:
                _log.warning("upkeep waits: %r", error)
            await asyncio.sleep(every_s)

    async def expire(self) -> None:
        """Forget the payloads whose time is over."""
        some = PAYLOADS
        while some == PAYLOADS:
            async with self._pool.acquire() as link, link.transaction():
                some = await upkeep.expire_payloads(link, self._clock(), PAYLOADS)

    async def once(self) -> None:
        """Do what is due, unless another process is at it.

        Partitions first and by themselves: they lock their tables, and pruning may take long.
        """
        today = self._clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        before = today - timedelta(days=self._retention_days)
        async with self._pool.acquire() as link:
            async with link.transaction():
                if not await upkeep.try_lock(link):
                    return
                made = await migrate.make_partitions(link)
                dropped = await partition.drop_before(link, before)
            if made or dropped:
                _log.info("partitions: %d made, %d dropped", len(made), len(dropped))
            async with link.transaction():
                if await upkeep.try_lock(link):
                    await upkeep.prune(link, before)
                    await upkeep.prune_repeats(link, self._clock() - KEPT_KEYS)
                    await upkeep.prune_keys(link, today)
            await self._prune_strays(link, before)
            await self._prune_letters(link, today)
            await self._prune_tasks(link, today)

    async def _prune_strays(self, link: Link, before: datetime) -> None:
        """Drop what is old and lies in no day's partition, few rows at a time."""
        some = STRAYS
        while some == STRAYS:
            async with link.transaction():
                if not await upkeep.try_lock(link):
                    return
                some = await upkeep.prune_strays(link, before, STRAYS)

    async def _prune_letters(self, link: Link, today: datetime) -> None:
        """Drop old dead letters, few at a time: each takes its group with it until the commit."""
        before = today - timedelta(days=self._dead_letter_retention_days)
        longest = max(self._retention_days, self._dead_letter_retention_days)
        dropped, some = 0, LETTERS
        while some == LETTERS:
            async with link.transaction():
                if not await upkeep.try_lock(link):
                    return
                some = await upkeep.prune_letters(link, before, LETTERS)
                if some < LETTERS:
                    await upkeep.prune_groups(link, before)
                    await upkeep.prune_origins(link, today - timedelta(days=longest))
            dropped += some
        if dropped:
            _log.info("dead letters: %d dropped", dropped)

    async def _prune_tasks(self, link: Link, today: datetime) -> None:
        """Drop tasks that ended long ago, one at a time: each takes all its items with it."""
        before, some = today - KEPT_TASKS, 1
        while some:
            async with link.transaction():
                if not await upkeep.try_lock(link):
                    return
                some = await task.prune(link, before, 1)
