"""Brings what is due back from Postgres into lanes, many lanes in one statement.

Every lane that has something due says when (`look_at`); a heap of those times is all that retries,
spilled deliveries and wakes cost while they wait. Times are seconds of the loop's clock; what is
due is judged by the wall clock that also wrote `due_at`, so nothing is early.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Final

from dispatcher.config import DispatcherConfig
from dispatcher.lane import NEVER, Lane, Lanes, Owed
from schema.delivery import Reason
from schema.errors import Unavailable
from schema.store import lane as store
from schema.store.link import Link, Pool
from schema.store.pool import reachable

LANES: Final = 64  # per statement
READ_BYTES: Final = 8 * 1_048_576  # of payload per statement
_SLACK_S: Final = 0.001  # timers may fire a little before wall-clock time has come
_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_PAUSE_S: Final = 0.5  # between tries while Postgres is away
_log = logging.getLogger(__name__)


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
            heapq.heappush(self._heap, (at, next(self._order), lane))
            if self._heap[0][2] is lane:
                self._sooner.set()

    def look_when_due(self, lane: Lane, due_at: datetime) -> None:
        """Have a lane read when a delivery of it is due, or at once if it is to be given up."""
        wait_s = 0.0 if lane.doomed else (due_at - self._clock()).total_seconds()
        self.look(lane, asyncio.get_running_loop().time() + max(wait_s + _SLACK_S, 0.0))

    def drained(self, lane: Lane) -> None:
        """Have a lane read again as it has room, if Postgres has more for it now."""
        if lane.look_at <= asyncio.get_running_loop().time() and self._half_empty(lane):
            heapq.heappush(self._heap, (lane.look_at, next(self._order), lane))
            self._sooner.set()

    async def run(self) -> None:
        """Refill, for ever."""
        while True:
            lanes = self._next()
            if not lanes:
                await self._wait()
                continue
            try:
                async with reachable():
                    await self._refill(lanes)
            except Unavailable as error:
                _log.warning("refilling waits: %s", error.__cause__)
                await asyncio.sleep(_PAUSE_S)

    def _next(self) -> list[Lane]:
        """Take up to a statement's worth of lanes whose time has come and that have room."""
        now = asyncio.get_running_loop().time()
        lanes: dict[int, Lane] = {}
        while self._heap and self._heap[0][0] <= now and len(lanes) < LANES:
            lane = heapq.heappop(self._heap)[2]
            if lane.look_at <= now and self._half_empty(lane):
                lanes[id(lane)] = lane
        return list(lanes.values())

    def _half_empty(self, lane: Lane) -> bool:
        return (
            len(lane.backlog) <= self._config.lane_depth // 2
            and not lane.refilling
            and self._lanes.room(lane) > 0
            and self._lanes.get(lane.app_id, lane.endpoint_id) is lane
        )

    async def _wait(self) -> None:
        self._sooner.clear()
        loop = asyncio.get_running_loop()
        until = self._heap[0][0] if self._heap else loop.time() + 3600
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._sooner.wait()

    async def _refill(self, lanes: Sequence[Lane]) -> None:
        looked_at = [lane.look_at for lane in lanes]
        for lane in lanes:
            lane.refilling = True
            lane.look_at = NEVER
        try:
            await self._read(lanes)
        except BaseException:
            for lane, at in zip(lanes, looked_at, strict=True):
                self.look(lane, at)
            raise
        finally:
            for lane in lanes:
                lane.refilling = False
                lane.released.clear()
        for lane in lanes:
            self._on_refilled(lane)

    async def _read(self, lanes: Sequence[Lane]) -> None:
        # What is held is read too, and left out: it is a few hundred keys at most.
        rooms = [self._lanes.room(lane) for lane in lanes]
        now = self._clock()
        asked = [
            store.Asked(
                shard=lane.shard,
                app_id=lane.app_id,
                endpoint_id=lane.endpoint_id,
                room=room + len(lane.held),
                # What is to be given up does not wait for its time.
                by=_EVER if lane.doomed else now,
            )
            for lane, room in zip(lanes, rooms, strict=True)
        ]
        async with self._pool.acquire() as link:
            rows = await store.due(link, asked)
            wanted, spilled = self._choose(lanes, rooms, rows)
            messages = await self._messages(link, lanes, wanted)
        at = asyncio.get_running_loop().time()
        for row in wanted[len(messages) :]:
            spilled.add(row.number)
        for row, message in zip(wanted, messages, strict=False):
            self._add(lanes[row.number], row, message)
        for number in spilled:
            self.look(lanes[number], at)

    def _choose(
        self, lanes: Sequence[Lane], rooms: Sequence[int], rows: Iterable[store.DueRow]
    ) -> tuple[list[store.DueRow], set[int]]:
        """Choose what is not held and has room; tell which lanes have more due in Postgres."""
        wanted: list[store.DueRow] = []
        spilled: set[int] = set()
        left = list(rooms)
        for row in rows:
            lane = lanes[row.number]
            if not row.is_due:
                self.look_when_due(lane, row.due_at)
            elif _was_held(lane, row.message_id):
                continue
            elif left[row.number]:
                left[row.number] -= 1
                wanted.append(row)
            else:
                spilled.add(row.number)
        # A lane that was filled to the brim may have more than was asked for.
        spilled.update(number for number, room in enumerate(left) if not room)
        return wanted, spilled

    async def _messages(
        self, link: Link, lanes: Sequence[Lane], wanted: Sequence[store.DueRow]
    ) -> list[store.MessageRow]:
        if not wanted:
            return []
        keys = [(lanes[row.number].app_id, row.message_id) for row in wanted]
        return await store.messages(link, keys, most_bytes=READ_BYTES)

    def _add(self, lane: Lane, row: store.DueRow, message: store.MessageRow) -> None:
        closed = self._lanes.get(lane.app_id, lane.endpoint_id) is not lane
        if closed or _was_held(lane, row.message_id):
            return
        self._lanes.add_backlog(
            lane,
            Owed(
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
                reason=Reason.EXPIRED if message.payload is None else None,
            ),
        )


def _was_held(lane: Lane, message_id: str) -> bool:
    """Tell whether a delivery was held at any time since its row was read: the row may be old."""
    return message_id in lane.held or message_id in lane.released
