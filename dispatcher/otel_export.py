"""Exports attempts to the collectors of environments, each by one dispatcher at a time.

What settling staged is claimed, looked up and sent, a page in a request; what was sent is
forgotten. A crash in between sends a page again, as the same spans. A claim is a row, so nothing of
Postgres is held while a collector thinks; and those whose last export failed take half of the room
at most.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final

import asyncpg

from dispatcher.collector import Collectors, Place, Result, Said
from dispatcher.otel_spans import SPANS, encode
from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.errors import Unavailable
from schema.otel import ASK_S, wait_s
from schema.store import otel as store
from schema.store.link import Pool
from schema.store.otel import Claim, Staged
from schema.store.pool import reachable

PAGE: Final = 100  # attempts of a request
ROOM: Final = 8  # environments at a time
ROOM_FAILING: Final = ROOM // 2
RUN_S: Final = 20.0  # for which one is exported without a break
CLAIM_S: Final = RUN_S + 4 * ASK_S
SWEPT: Final = 5_000  # attempts that are forgotten at a time
_log = logging.getLogger(__name__)


class OtelExport:
    """Attempts, on their way to collectors."""

    def __init__(self, given: Parts, collectors: Collectors) -> None:
        """Export nothing yet."""
        self._pool: Pool = given.pool
        self._clock: Callable[[], datetime] = given.clock
        self._dice: Callable[[], float] = given.dice
        self._metrics = given.metrics
        self._collectors = collectors
        self._every_s = given.config.otel_s
        self._most_waiting = given.config.otel_waiting
        self._under_way = {False: 0, True: 0}  # by whether the last export failed

    async def run(self) -> None:
        """Export, for ever."""
        async with asyncio.TaskGroup() as group:

            async def once() -> bool:
                return await self.once(group)

            await rounds("exporting attempts", once, pause_s=self._every_s)

    async def once(self, group: asyncio.TaskGroup) -> bool:
        """Begin to export for whom there is room; tell whether more is to be swept at once."""
        swept = await self._tidy()
        now = self._clock()
        room_failing = min(ROOM_FAILING - self._under_way[True], ROOM - self._busy)
        await self._begin(group, now, failing=True, most=room_failing)
        await self._begin(group, now, failing=False, most=ROOM - self._busy)
        return swept == SWEPT

    @property
    def _busy(self) -> int:
        return sum(self._under_way.values())

    async def _tidy(self) -> int:
        async with self._pool.acquire() as link, link.transaction():
            if not await store.try_lock(link):
                return 0
            dropped = await store.trim(link, self._most_waiting)
            swept = await store.sweep(link, SWEPT)
        if dropped:
            self._metrics.otel.labels("dropped").inc(dropped)
            _log.warning("%d attempts were too many for their collectors, and dropped", dropped)
        return swept

    async def _begin(
        self, group: asyncio.TaskGroup, now: datetime, *, failing: bool, most: int
    ) -> None:
        if most <= 0:
            return
        until = now + timedelta(seconds=CLAIM_S)
        async with self._pool.acquire() as link:
            claims = await store.claim(
                link, token_hex(8), now=now, until=until, failing=failing, most=most
            )
        for claim in claims:
            self._under_way[failing] += 1
            group.create_task(self._export(claim, failing=failing))

    async def _export(self, claim: Claim, *, failing: bool) -> None:
        """Export what an environment has, until there is no more or its time is over."""
        try:
            await self._finish(claim, await self._pages(claim))
        except (Unavailable, asyncpg.PostgresError) as error:  # the claim ends by itself
            _log.warning("an export is given up: %r", error.__cause__ or error)
        finally:
            self._under_way[failing] -= 1

    async def _pages(self, claim: Claim) -> Said:
        loop = asyncio.get_running_loop()
        until = loop.time() + RUN_S
        place = Place(claim.environment_id, claim.url, claim.headers)
        why: str | None = None
        while True:
            async with reachable(), self._pool.acquire() as link:
                page = await store.page(link, claim.environment_id, PAGE)
            said = await self._send(place, page)
            if said.result is Result.DELAYED:
                return said
            why = said.why or why
            async with reachable(), self._pool.acquire() as link:
                await store.done(link, claim.environment_id, [staged.number for staged in page])
            if len(page) < PAGE or loop.time() > until:
                return Said(Result.EXPORTED, why)

    async def _send(self, place: Place, page: list[Staged]) -> Said:
        attempts = [staged.tried for staged in page if staged.tried is not None]
        if not attempts:
            return Said(Result.EXPORTED)
        said = await self._collectors.send(place, encode(attempts))
        lost = min(len(attempts), -(-said.rejected // SPANS))
        if said.result is not Result.DELAYED:
            self._metrics.otel.labels(said.result).inc(len(attempts) - lost)
            self._metrics.otel.labels(Result.REJECTED).inc(lost)
        return said

    async def _finish(self, claim: Claim, said: Said) -> None:
        now = self._clock()
        async with reachable(), self._pool.acquire() as link:
            if said.result is not Result.DELAYED:
                await store.went_well(link, claim, now, said.why)
                return
            again_s = wait_s(
                claim.failures + 1, dice=self._dice(), retry_after_s=said.retry_after_s
            )
            next_at = now + timedelta(seconds=again_s)
            await store.failed(link, claim, now, why=said.why or "", next_at=next_at)
        _log.info("%s: attempts are not exported: %s", claim.environment_id, said.why)
