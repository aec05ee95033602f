"""Looks for what is owed and due and in no lane, though nothing keeps it out.

Memory may have missed something: Postgres is asked now and then what every lane is owed. What is
due soon, or was a moment ago, its lane is told of. What has been due for longer should be in a lane
by now, unless that one is paused, holds what comes first, or waits for room. If it is not, twice in
a row, it is stuck: that is counted, told, and put right by a row of `wake`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Final, NamedTuple

from dispatcher.arrivals import Arrivals, Found
from dispatcher.lane import Lane
from dispatcher.lanes import Lanes
from dispatcher.parts import Parts
from dispatcher.reach import when_reachable
from schema.store import lane as store
from schema.store import wake
from schema.store.link import Link, Pool

EVERY_S: Final = 60.0
LATE: Final = timedelta(seconds=5)  # whatever is due for longer should be in a lane
DOUBT_S: Final = 1.0  # until it is looked at again: it may just be on its way
LANES: Final = 64  # per statement
BESIDE_HELD: Final = 64  # deliveries of a lane that are looked at beside those that it holds
_log = logging.getLogger(__name__)


class Stray(NamedTuple):
    """A delivery that is due and in no lane."""

    shard: int
    app_id: str
    endpoint_id: str
    message_id: str


class Stuck:
    """Finds what is stuck in the shards that we own, and wakes it."""

    def __init__(
        self,
        given: Parts,
        *,
        lanes: Lanes,
        arrivals: Arrivals,
        shards: Callable[[], Collection[int]],
    ) -> None:
        """Look at nothing yet; `shards` gives ours."""
        self._pool: Pool = given.pool
        self._clock = given.clock
        self._counter = given.metrics.stuck
        self._lanes = lanes
        self._arrivals = arrivals
        self._shards = shards
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await when_reachable(self.once)

    async def once(self) -> None:
        """Look at all that is owed, and wake what is stuck."""
        doubted: list[Found] = []
        for shard in list(self._shards()):
            doubted += await self._survey(shard)
        first = await self._strays(doubted)
        if not first:
            return
        await asyncio.sleep(DOUBT_S)
        stuck = first & await self._strays(doubted)
        if stuck:
            await self._wake(sorted(stuck))

    async def _survey(self, shard: int) -> list[Found]:
        """Tell lanes what they are owed; give those that should know it already."""
        late = self._clock() - LATE
        owed = await self._arrivals.owed(shard)
        doubted = [found for found in owed if found.due_at < late and not self._lost_order(found)]
        await self._arrivals.found(list(set(owed).difference(doubted)))
        return doubted

    async def _strays(self, doubted: Sequence[Found]) -> set[Stray]:
        """Of lanes that are owed something that is late, give what they do not hold."""
        wanted = [found for found in doubted if self._should_know(found)]
        strays: set[Stray] = set()
        for start in range(0, len(wanted), LANES):
            async with self._pool.acquire() as link:
                strays |= await self._unheld(link, wanted[start : start + LANES])
        return strays

    async def _unheld(self, link: Link, some: Sequence[Found]) -> set[Stray]:
        asked = [self._asked(found) for found in some]
        unordered = [n for n, found in enumerate(some) if not found.placed]
        ordered = [n for n, found in enumerate(some) if found.placed]
        rows: list[tuple[Found, store.DueRow]] = []
        if unordered:
            due = await store.due(link, [asked[n] for n in unordered])
            rows += [(some[unordered[row.number]], row) for row in due]
        if ordered:
            firsts = [asked[n]._replace(room=1) for n in ordered]
            rows += [(some[ordered[r.number]], r) for r in await store.in_order(link, firsts)]
        return {
            Stray(found.shard, found.app_id, found.endpoint_id, row.message_id)
            for found, row in rows
            if row.is_due and self._should_know(found) and not self._holds(found, row.message_id)
        }

    def _lost_order(self, found: Found) -> bool:
        """Tell whether a place in an order is of a time when there was one."""
        lane = self._lane(found)
        return found.placed and lane is not None and not lane.ordered

    def _asked(self, found: Found) -> store.Asked:
        lane = self._lane(found)
        return store.Asked(
            shard=found.shard,
            app_id=found.app_id,
            endpoint_id=found.endpoint_id,
            room=BESIDE_HELD + (len(lane.held) if lane is not None else 0),
            by=self._clock() - LATE,
        )

    def _lane(self, found: Found) -> Lane | None:
        return self._lanes.get(found.app_id, found.endpoint_id)

    def _holds(self, found: Found, message_id: str) -> bool:
        lane = self._lane(found)
        return lane is not None and message_id in lane.held

    def _should_know(self, found: Found) -> bool:
        """Tell whether nothing keeps out of memory what is due for an endpoint."""
        lane = self._lane(found)
        if lane is None:
            return self._lanes.owns(found.shard)
        waits_for_room = lane.refilling or lane.look_at <= self._loop.time()
        in_turn = lane.ordered and bool(lane.held)
        return not (lane.paused or waits_for_room or in_turn)

    async def _wake(self, stuck: Sequence[Stray]) -> None:
        self._counter.inc(len(stuck))
        async with self._pool.acquire() as link:
            for (shard, app_id), of_app in groupby(stuck, lambda stray: stray[:2]):
                strays = list(of_app)
                endpoints = sorted({stray.endpoint_id for stray in strays})
                _log.error(
                    "app %s: %d deliveries to %d endpoints were due and in no lane, such as %s; "
                    "they are woken", app_id, len(strays), len(endpoints), strays[0].message_id,
                )  # fmt: skip
                await wake.add(link, shard, app_id, endpoints)
        self._arrivals.wake()
