"""Proves that nothing is missing, by one dispatcher at a time.

What was fanned out is counted by the statements that do it, apart from the deliveries; here it is
compared with what became of these, app by app and day by day. A look is one transaction and sees
one snapshot. A day that is over and owes nothing is counted once; what is open, seldom, and never
for more than a twentieth of the time.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.reconciliation import due_again, is_over
from schema.store import reconciliation as store
from schema.store.link import Link, Pool
from schema.store.reconciliation import Counted, Due

EVERY_S: Final = 15.0
PER_COST: Final = 19  # for each second of counting so many of rest
DELIVERIES: Final = 100_000  # counted in a statement, about; a look has one, or a large day
APP_DAYS: Final = 1_000  # in a look, at most
_DAY: Final = timedelta(days=1)
_log = logging.getLogger(__name__)


class Reconciler:
    """Counts, compares and keeps what was found."""

    def __init__(self, given: Parts, *, at_once: int = DELIVERIES) -> None:
        """Look at nothing yet; a statement counts about `at_once` deliveries."""
        self._pool: Pool = given.pool
        self._clock: Callable[[], datetime] = given.clock
        self._kept = timedelta(days=given.config.retention_days)
        self._at_once = at_once
        self._known = timedelta(days=given.config.dead_letter_retention_days)

    async def run(self) -> None:
        """Reconcile, for ever."""
        await rounds("reconciling", self._in_turn, pause_s=EVERY_S)

    async def _in_turn(self) -> bool:
        """Look, and rest for as long as that is worth."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        more = await self.once()
        await asyncio.sleep(PER_COST * (loop.time() - began))
        return more

    async def once(self) -> bool:
        """Look, unless another process is at it; tell whether there is more to do at once."""
        now = self._clock()
        async with (
            self._pool.acquire() as link,
            link.transaction(isolation="repeatable_read"),
        ):
            return await store.try_lock(link) and await self._look(link, now)

    async def _look(self, link: Link, now: datetime) -> bool:
        """Add up what was fanned out, and count what is due."""
        today = now.astimezone(UTC).date()
        since, walked_to = await store.state(link)
        # A day before the retention's, as another process's clock may be ahead when it drops.
        since = max(since, today - self._kept + _DAY)
        await store.fold(link, now=now, since=since)
        day = max(walked_to + _DAY, since)
        if is_over(day, now):
            # Once a day: apps that nobody counted for, and what is too old.
            await store.walk(link, day, now)
            before = today - max(self._known, self._kept)
            await store.forget(link, uncounted=since, before=before)
        due = await store.due(link, now=now, since=since, deliveries=self._at_once, most=APP_DAYS)
        if due:
            await self._count(link, due, now)
        return bool(due)

    async def _count(self, link: Link, due: list[Due], now: datetime) -> None:
        counted = []
        found = await store.terms(link, due, at_once=self._at_once)
        for one, terms in zip(due, found, strict=True):
            difference = one.accepted - sum(terms)
            at = due_again(one.day, terms, difference, now)
            counted.append(Counted(one.day, one.app_id, terms, at))
            if difference != one.difference:
                _log.error(
                    "reconciliation: of %s, app %s accepted %d deliveries, and there are %d",
                    one.day, one.app_id, one.accepted, sum(terms),
                )  # fmt: skip
        await store.note(link, counted, now)
