"""What comes to be owed: what the intake took, what others made, what a new owner finds.

All of it ends in lanes, or in a lane's knowing when to look. Times are seconds of the loop's clock.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

from dispatcher.intake import Taken
from dispatcher.lane import Lane, Owed
from dispatcher.lanes import Lanes
from dispatcher.parts import Parts
from dispatcher.reach import when_reachable
from dispatcher.refill import Refill
from dispatcher.schedule import Schedule
from dispatcher.targets import Targets
from schema.event import Draft
from schema.store import lane as store

LOOK_S: Final = 1.0  # how often work of others is looked for, should a ring be lost


class Found(NamedTuple):
    """An endpoint that is owed something, and when the first is due: by place, or without."""

    shard: int
    app_id: str
    endpoint_id: str
    due_at: datetime
    placed: bool


class Arrivals:
    """Brings deliveries into lanes."""

    def __init__(
        self,
        given: Parts,
        *,
        lanes: Lanes,
        schedule: Schedule,
        refill: Refill,
        targets: Targets,
        shards: Callable[[], Collection[int]],
        on_ready: Callable[[], None],
    ) -> None:
        """Wait for work; `shards` gives ours, `on_ready` is told when there is something."""
        self._pool = given.pool
        self._lanes = lanes
        self._schedule = schedule
        self._refill = refill
        self._targets = targets
        self._shards = shards
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._wakes: set[tuple[int, str, str, bool]] = set()  # drained and not seen to yet

    def taken(self, messages: Sequence[Taken]) -> int:
        """Put new deliveries of our shards into their lanes; what has no room is read back.

        Tells of how many that goes and would be sent soon.
        """
        now, spilled = self._loop.time(), 0
        for taken in messages:
            shard, draft = taken.tenant.shard, taken.draft
            if not self._lanes.owns(shard):
                continue
            # Newer than what the lanes were pointed at, if a change was heard of meanwhile.
            known = self._targets.newest(taken.tenant)
            tenant = known or taken.tenant
            for target in taken.targets:
                lane = self._lanes.get(tenant.id, target.id)
                if lane is None or known is None:
                    lane = self._targets.lane(tenant, shard, tenant.id, target.id)
                if lane.target is not tenant.targets.get(target.id):
                    self._targets.aim(lane, tenant)
                if draft.deliver_at is None:
                    spilled += self._queue(lane, draft, now, placed=target.ordered)
                else:
                    self._refill.look_when_due(lane, draft.deliver_at)
        self._on_ready()
        return spilled

    def _queue(self, lane: Lane, draft: Draft, now: float, *, placed: bool) -> bool:
        """Queue a delivery; tell whether it had no room where it would be sent soon."""
        lane.placed = lane.placed or placed
        owed = Owed(
            lane=lane,
            message_id=draft.message_id,
            event_type=draft.event_type,
            payload=draft.body,
            content_type=draft.content_type,
            due_at=draft.at,
            placed=placed,
        )
        if self._lanes.offer(lane, owed):
            self._schedule.ready(lane)
            return False
        if owed.message_id not in lane.held and not (lane.blocked and placed):
            self._refill.look(lane, now)
        return not (lane.paused or lane.blocked or lane.health.failing)

    def repeated(self, messages: Sequence[Taken]) -> None:
        """Look for what was stored by a statement of ours whose answer got lost."""
        for taken in messages:
            shard = taken.tenant.shard
            for target in taken.targets if self._lanes.owns(shard) else ():
                lane = self._targets.lane(taken.tenant, shard, taken.tenant.id, target.id)
                self._refill.look(lane, self._loop.time())

    def by_hand(self, messages: Sequence[Taken]) -> None:
        """Have messages of our shards read that were stored as if somebody had resent them."""
        for taken in messages:
            shard = taken.tenant.shard
            for target in taken.targets if self._lanes.owns(shard) else ():
                lane = self._targets.lane(taken.tenant, shard, taken.tenant.id, target.id)
                self._refill.look_by_hand(lane)

    async def survey(self, shards: Iterable[int]) -> None:
        """Find out which endpoints of shards are owed something, and when."""
        for shard in shards:
            await self.found(await self.owed(shard))

    async def owed(self, shard: int) -> list[Found]:
        """Say which endpoints of a shard are owed something, as Postgres has it."""
        async with self._pool.acquire() as link:
            owed = await store.survey(link, shard)
            in_order = await store.survey_in_order(link, shard)
        found = [Found(shard, *row, placed=False) for row in owed]
        return [*found, *(Found(shard, *row, placed=True) for row in in_order)]

    async def found(self, owed: Collection[Found]) -> None:
        """Tell the lanes of our shards when they are owed something."""
        known = await self._targets.know({one.app_id for one in owed})
        for one in owed:
            if self._lanes.owns(one.shard):
                app_id = one.app_id
                lane = self._targets.lane(known.get(app_id), one.shard, app_id, one.endpoint_id)
                self._found(lane, one.due_at, placed=one.placed)

    def _found(self, lane: Lane, due_at: datetime, *, placed: bool) -> None:
        """Note that a lane is owed something, and when; order counts only if it is asked for."""
        lane.placed = lane.placed or placed
        if placed and not lane.ordered:
            self._refill.look(lane, self._loop.time())
        else:
            self._refill.look_when_due(lane, due_at)
        self._refill.drained(lane)

    def wake(self) -> None:
        """Look now for the work that others made."""
        self._woken.set()

    async def run(self) -> None:
        """Take the work that others made, for ever: at once when rung for, else within a second."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            self._woken.clear()
            if not await when_reachable(self._drain_wakes):
                self._woken.set()

    async def _drain_wakes(self) -> None:
        shards = list(self._shards())
        if not shards:
            return
        async with self._pool.acquire() as link:
            self._wakes |= set(await store.drain_wake(link, shards))
        known = await self._targets.know({app_id for _, app_id, *_ in self._wakes})
        wakes, self._wakes = self._wakes, set()
        for shard, app_id, endpoint_id, recall in wakes:
            if self._lanes.owns(shard):
                lane = self._targets.lane(known.get(app_id), shard, app_id, endpoint_id)
                if recall:
                    self._lanes.spill(lane, keep=0)
                self._refill.look_by_hand(lane)
