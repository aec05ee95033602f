"""Brings what is due back from Postgres into lanes, many lanes in one statement.

Every lane that has something due says when (`look_at`); a heap of those times is all that retries,
spilled deliveries and wakes cost while they wait. What was asked for by hand is found by an index
of its own and goes first, however much else is due. Of an ordered endpoint comes what has no place,
by due time, and then what has, in order, up to the first that is not due: that one blocks the rest.
Times are seconds of the loop's clock; what is due is judged by the wall clock that also wrote
`due_at`, so nothing is early.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, count
from typing import Final

from dispatcher.config import DispatcherConfig
from dispatcher.lane import NEVER, Lane, Owed
from dispatcher.lanes import HANDFUL, Lanes
from schema.delivery import Reason
from schema.errors import Unavailable
from schema.store import lane as store
from schema.store.link import Link, Pool
from schema.store.pool import reachable

LANES: Final = 64  # per statement
READ_BYTES: Final = 8 * 1_048_576  # of payload per statement
MOST_ENTRIES: Final = 1024  # of the heap, and two for each lane; then what is stale is thrown out
UNPLACED: Final = 512  # places per statement that are taken away when an endpoint is not ordered
_SLACK_S: Final = 0.001  # timers may fire a little before wall-clock time has come
_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_PAUSE_S: Final = 0.5  # between tries while Postgres is away
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Lanes to be read together: for what is due, and for what was asked for by hand."""

    due: list[Lane] = field(default_factory=list)
    by_hand: list[Lane] = field(default_factory=list)
    wanted: list[tuple[Lane, store.DueRow, bool]] = field(default_factory=list)  # True: goes first
    spilled: list[Lane] = field(default_factory=list)  # have more in Postgres that is due

    def lanes(self) -> Iterator[Lane]:
        """Give each lane, some twice."""
        return chain(self.due, self.by_hand)

    def begin(self) -> list[float]:
        """Mark what is read; give the times at which the lanes wanted to be."""
        looked_at = [lane.look_at for lane in self.due]
        for lane in self.lanes():
            lane.refilling = True
        for lane in self.due:
            lane.look_at = NEVER
            lane.blocked = False
        for lane in self.by_hand:
            lane.by_hand = False
        return looked_at

    def end(self) -> None:
        """Mark that nothing is read any more."""
        for lane in self.lanes():
            lane.refilling = False
            lane.released.clear()


class Refill:
    """Reads what is due for lanes."""

    def __init__(
        self,
        *,
        pool: Pool,
        lanes: Lanes,
        clock: Callable[[], datetime],
        config: DispatcherConfig,
        on_refilled: Callable[[Lane], None],
    ) -> None:
        """Have nothing to read; `on_refilled` is told of each lane that got something."""
        self._pool = pool
        self._lanes = lanes
        self._clock = clock
        self._config = config
        self._on_refilled = on_refilled
        self._heap: list[tuple[float, int, Lane]] = []
        self._order = count()
        self._sooner = asyncio.Event()

    def look(self, lane: Lane, at: float) -> None:
        """Have a lane read at a time, or before."""
        if at < lane.look_at:
            lane.look_at = at
            self._push(lane)

    def look_when_due(self, lane: Lane, due_at: datetime) -> None:
        """Have a lane read when a delivery of it is due, or at once if it is to be given up."""
        wait_s = 0.0 if lane.doomed else (due_at - self._clock()).total_seconds()
        self.look(lane, asyncio.get_running_loop().time() + max(wait_s + _SLACK_S, 0.0))

    def look_by_hand(self, lane: Lane) -> None:
        """Have a lane read now, and what was asked for by hand put first."""
        now = asyncio.get_running_loop().time()
        lane.by_hand = True
        lane.look_at = min(lane.look_at, now)
        self._push(lane)

    def drained(self, lane: Lane) -> None:
        """Have a lane read again as it has room, if Postgres has more for it now."""
        if lane.look_at <= asyncio.get_running_loop().time() and self._may_read(lane):
            self._push(lane)

    def _push(self, lane: Lane) -> None:
        """Have a lane looked at when its `look_at` has come; older entries of it count no more."""
        heapq.heappush(self._heap, (lane.look_at, next(self._order), lane))
        if len(self._heap) > MOST_ENTRIES + 2 * len(self._lanes):
            lanes = (lane for lane in self._lanes if lane.look_at != NEVER)
            self._heap = [(lane.look_at, next(self._order), lane) for lane in lanes]
            heapq.heapify(self._heap)
        if self._heap and self._heap[0][2] is lane:
            self._sooner.set()

    async def run(self) -> None:
        """Refill, for ever."""
        while True:
            batch = self._next()
            if batch is None:
                await self._wait()
                continue
            try:
                async with reachable():
                    await self._refill(batch)
            except Unavailable as error:
                _log.warning("refilling waits: %s", error.__cause__)
                await asyncio.sleep(_PAUSE_S)

    def _next(self) -> _Batch | None:
        """Take up to a statement's worth of lanes whose time has come and that have room."""
        now = asyncio.get_running_loop().time()
        lanes: dict[int, Lane] = {}
        while self._heap and self._heap[0][0] <= now and len(lanes) < LANES:
            lane = heapq.heappop(self._heap)[2]
            if lane.look_at <= now and self._may_read(lane):
                lanes[id(lane)] = lane
        if not lanes:
            return None
        return _Batch(
            due=[lane for lane in lanes.values() if self._lanes.is_low(lane)],
            by_hand=[lane for lane in lanes.values() if lane.by_hand],
        )

    def _may_read(self, lane: Lane) -> bool:
        return (
            not lane.refilling
            and (self._lanes.is_low(lane) or (lane.by_hand and not lane.paused))
            and self._lanes.get(lane.app_id, lane.endpoint_id) is lane
        )

    async def _wait(self) -> None:
        self._sooner.clear()
        loop = asyncio.get_running_loop()
        until = self._heap[0][0] if self._heap else loop.time() + 3600
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._sooner.wait()

    async def _refill(self, batch: _Batch) -> None:
        looked_at = batch.begin()
        try:
            await self._read(batch)
        except BaseException:
            for lane, at in zip(batch.due, looked_at, strict=True):
                self.look(lane, at)
            for lane in batch.by_hand:
                self.look_by_hand(lane)
            raise
        finally:
            batch.end()
        for lane in {id(lane): lane for lane in batch.lanes()}.values():
            self.drained(lane)  # it may have run low while it was being read
            self._on_refilled(lane)

    async def _read(self, batch: _Batch) -> None:
        async with self._pool.acquire() as link:
            if batch.by_hand:
                await self._choose_by_hand(link, batch)
            if batch.due:
                await self._choose_due(link, batch)
            messages = await self._messages(link, batch)
        for lane, _, first in batch.wanted[len(messages) :]:
            batch.spilled.append(lane)
            lane.by_hand = lane.by_hand or first
        for (lane, row, first), message in zip(batch.wanted, messages, strict=False):
            self._add(lane, row, message, first=first)
        at = asyncio.get_running_loop().time()
        for lane in batch.spilled:
            self.look(lane, at)

    async def _choose_by_hand(self, link: Link, batch: _Batch) -> None:
        """Choose what was asked for by hand; what has a place in an order keeps it."""
        lanes = batch.by_hand
        asked = [(lane.app_id, lane.endpoint_id, HANDFUL) for lane in lanes]
        for row in await store.by_hand(link, asked):
            lane = lanes[row.number]
            if not (lane.ordered and row.place is not None) and not _was_held(lane, row.message_id):
                batch.wanted.append((lane, row, True))

    async def _choose_due(self, link: Link, batch: _Batch) -> None:
        """Choose what is due, is not held and has room."""
        lanes = batch.due
        for lane in lanes:
            if lane.placed and not lane.ordered:
                await self._unplace(link, lane, batch)
        rooms = [self._lanes.room(lane) for lane in lanes]
        asked = [self._asked(lane, room) for lane, room in zip(lanes, rooms, strict=True)]
        rows = await store.due(link, asked)
        ordered = [number for number, lane in enumerate(lanes) if lane.ordered]
        if ordered:
            placed = await store.in_order(link, [asked[number] for number in ordered])
            rows += [replace(row, number=ordered[row.number]) for row in placed]
        self._sort_out(batch, rooms, rows)
        # A lane that was filled to the brim may have more than was asked for.
        batch.spilled += [lane for lane, room in zip(lanes, rooms, strict=True) if not room]

    def _asked(self, lane: Lane, room: int) -> store.Asked:
        # What is held is read too, and left out: it is a few hundred keys at most.
        return store.Asked(
            shard=lane.shard,
            app_id=lane.app_id,
            endpoint_id=lane.endpoint_id,
            room=room + len(lane.held) + HANDFUL,
            # What is to be given up does not wait for its time.
            by=_EVER if lane.doomed else self._clock(),
        )

    def _sort_out(self, batch: _Batch, rooms: list[int], rows: Iterable[store.DueRow]) -> None:
        """Choose among what was read; note of each lane what is next, and when."""
        chosen = {(id(lane), row.message_id) for lane, row, _ in batch.wanted}
        for row in rows:
            lane, placed = batch.due[row.number], row.place is not None
            if placed and lane.blocked:
                continue
            if not row.is_due:
                self.look_when_due(lane, row.due_at)
                lane.blocked = placed
            elif _was_held(lane, row.message_id) or (id(lane), row.message_id) in chosen:
                continue
            elif rooms[row.number]:
                rooms[row.number] -= 1
                batch.wanted.append((lane, row, False))
            else:
                batch.spilled.append(lane)

    async def _unplace(self, link: Link, lane: Lane, batch: _Batch) -> None:
        """Have what an endpoint that was ordered once is owed go by its due time."""
        key = (lane.shard, lane.app_id, lane.endpoint_id)
        if await store.unplace(link, *key, most=UNPLACED) == UNPLACED:
            batch.spilled.append(lane)

    async def _messages(self, link: Link, batch: _Batch) -> list[store.MessageRow]:
        if not batch.wanted:
            return []
        keys = [(lane.app_id, row.message_id) for lane, row, _ in batch.wanted]
        return await store.messages(link, keys, most_bytes=READ_BYTES)

    def _add(
        self, lane: Lane, row: store.DueRow, message: store.MessageRow, *, first: bool
    ) -> None:
        closed = self._lanes.get(lane.app_id, lane.endpoint_id) is not lane
        if closed or _was_held(lane, row.message_id):
            return
        owed = Owed(
            lane=lane,
            message_id=row.message_id,
            event_type=message.event_type,
            payload=message.payload,
            content_type=message.content_type,
            attempts=row.attempts,
            failures=row.failures,
            run=row.run,
            manual=row.manual,
            due_at=row.due_at,
            was_delivered=row.delivered_at is not None,
            placed=row.place is not None,
            reason=Reason.EXPIRED if message.payload is None else None,
        )
        if first:
            self._lanes.add_first(lane, owed)
        else:
            self._lanes.add_backlog(lane, owed)


def _was_held(lane: Lane, message_id: str) -> bool:
    """Tell whether a delivery was held at any time since its row was read: the row may be old."""
    return message_id in lane.held or message_id in lane.released
