"""How much each app is owed, so that one that nobody takes from cannot fill the database.

Postgres is asked beside the requests, never in their path: for the apps that published of late,
every few seconds, less often where much is left or where counting takes long. In between, each
event that this process accepted counts as one more delivery. An app counts as empty until it was
counted for the first time.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from gateway.config import GatewayConfig
from schema import ids
from schema.errors import HooklineError
from schema.store import backlog as store
from schema.store.link import Link, Pool
from schema.store.pool import reachable

EVERY_S: Final = 5.0
_PER_COST: Final = 20  # and this many times as long as counting took
_AT_EASE_S: Final = 30.0  # between counts of an app that is far from its quota
_LOOK_S: Final = 1.0
_FORGET_S: Final = 60.0  # after the last event
_AT_ONCE: Final = 100
_GLANCE: Final = 10_000  # how far apps are counted together; what is owed more is counted alone
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Count:
    counted: int = 0
    since: int = 0  # accepted by this process after it was counted
    counted_s: float = -math.inf  # when
    due_s: float = 0.0  # when it is to be counted again
    used_s: float = 0.0


class Backlog:
    """What the apps that publish through this process are owed, about."""

    def __init__(
        self, pool: Pool, config: GatewayConfig, *, monotonic_s: Callable[[], float]
    ) -> None:
        """Know nothing yet."""
        self.quota = config.app_backlog
        self._pool = pool
        self._shards = config.shards
        self._acquire_s = config.acquire_s
        self._monotonic_s = monotonic_s
        self._counts: dict[str, _Count] = {}

    def full(self, app_id: str) -> bool:
        """Tell whether an app is owed as much as it may be."""
        count = self._count(app_id)
        return count.counted + count.since >= self.quota

    def accepted(self, app_id: str, events: int) -> None:
        """Take note of events that were published."""
        self._count(app_id).since += events

    async def run(self) -> None:
        """Count again and again, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Count what is due to be counted."""
        now_s = self._monotonic_s()
        self._counts = {
            app_id: count
            for app_id, count in self._counts.items()
            if now_s - count.used_s < _FORGET_S
        }
        due = [app_id for app_id, count in self._counts.items() if self._is_due(count, now_s)]
        for start in range(0, len(due), _AT_ONCE):
            await self._recount(due[start : start + _AT_ONCE])

    def _is_due(self, count: _Count, now_s: float) -> bool:
        if count.due_s > now_s or count.used_s <= count.counted_s:
            return False
        near = count.counted + count.since >= self.quota / 2 or count.since >= self.quota / 100
        return near or now_s - count.counted_s >= _AT_EASE_S

    def _count(self, app_id: str) -> _Count:
        count = self._counts.get(app_id)
        if count is None:
            count = self._counts[app_id] = _Count()
        count.used_s = self._monotonic_s()
        return count

    async def _recount(self, app_ids: Sequence[str]) -> None:
        most = min(self.quota, _GLANCE)
        try:
            async with reachable(), self._pool.acquire(timeout=self._acquire_s) as link:
                large = await self._recount_to(link, app_ids, most)
                for app_id in large:
                    await self._recount_to(link, [app_id], self.quota)
        except (HooklineError, asyncpg.PostgresError) as error:
            _log.warning("what %d apps are owed was not counted: %s", len(app_ids), error)

    async def _recount_to(self, link: Link, app_ids: Sequence[str], most: int) -> list[str]:
        """Count up to a limit; give the apps that reach it and are to be counted further."""
        before = [self._counts[app_id].since for app_id in app_ids]
        started_s = self._monotonic_s()
        asked = [(ids.shard_of(app_id, self._shards), app_id) for app_id in app_ids]
        owed = await store.owed(link, asked, most=most)
        ended_s = self._monotonic_s()
        large = []
        for app_id, counted, seen in zip(app_ids, owed, before, strict=True):
            if counted >= most and most < self.quota:
                large.append(app_id)
                continue
            count = self._counts[app_id]
            count.counted, count.counted_s = counted, started_s
            count.since -= seen
            count.due_s = ended_s + max(EVERY_S, _PER_COST * (ended_s - started_s))
        return large
