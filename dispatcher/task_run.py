"""One task, done: pass by pass, each step of it a transaction.

A pass looks what became of what was sent, and sends more where there is room. Whatever is written
is written with the cursor, behind the fence of the task's epoch: a crash anywhere repeats or loses
nothing, and two dispatchers never do the same step.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from dispatcher.parts import Parts
from dispatcher.task_content import Broadcasting, Expunging
from dispatcher.task_send import Sending
from dispatcher.task_told import tell
from dispatcher.task_window import Rate, Window
from schema.errors import Unavailable
from schema.store import dead_letter_search as search
from schema.store import task_source as source
from schema.store import task_step as store
from schema.store.link import Link
from schema.store.pool import reachable
from schema.store.task_step import Held, Lease
from schema.task import (
    OF_LETTERS,
    OPEN,
    SENDING,
    ItemState,
    Part,
    PartState,
    Task,
    TaskKind,
    TaskState,
    room_of,
    verdict_of,
)

LEASE_S: Final = 10.0
PASS_S: Final = 0.1  # while something is under way that ends soon
QUICK_S: Final = 0.025  # while an endpoint has room for more than a step
SLOW_S: Final = 2.0  # while only retries are
AT_ONCE: Final = 64  # endpoints
PAGE: Final = 128  # letters of a step
LOOKED_AT: Final = 512  # items per statement
MOST_COUNTED: Final = 100_000
_PAUSE_S: Final = 0.5
_log = logging.getLogger(__name__)


def _steps(
    given: Parts, task: Task, ring: Callable[[str], Awaitable[None]]
) -> Sending | Expunging | Broadcasting:
    if task.kind is TaskKind.PURGE_CONTENT:
        return Expunging(given, task, ring=ring)
    if task.kind is TaskKind.BROADCAST:
        return Broadcasting(given, task)
    return Sending(given, task, ring=ring)


class Run:
    """A task that this dispatcher holds."""

    def __init__(
        self, given: Parts, lease: Lease, *, ring: Callable[[str], Awaitable[None]]
    ) -> None:
        """Take the task; `ring` tells the owner of an app's shard that there is work."""
        self._given = given
        self._lease = lease
        self._task = lease.task
        self._plan = lease.task.plan
        self._loop = asyncio.get_running_loop()
        self._sending = _steps(given, lease.task, ring)
        self._rate = Rate(self._plan.rate_per_s, self._loop.time())
        self._windows: dict[int, Window] = {}
        self._active: dict[int, Part] = {}
        self._last_part = 0
        self._retrying_behind = 0
        self._slow_at = 0.0
        self._busy = False  # something was sent and is not attempted yet
        self._roomy = False  # an endpoint had room for more than the last step sent
        self._moved = asyncio.Event()

    def nudge(self) -> None:
        """Look at the task now: it was paused, resumed or cancelled."""
        self._moved.set()

    async def run(self) -> None:
        """Do the task until it has ended, is paused, or is not ours any more."""
        going = True
        while going:
            began = self._loop.time()
            try:
                async with reachable():
                    going = await self._pass()
            except (Unavailable, asyncpg.DeadlockDetectedError) as error:
                _log.warning("task %s waits: %r", self._task.id, error.__cause__ or error)
                await asyncio.sleep(_PAUSE_S)
            if going:
                await self._wait(began)

    async def _wait(self, began: float) -> None:
        every_s = PASS_S if self._active or self._busy else SLOW_S
        every_s = QUICK_S if self._roomy else every_s
        wait_s = max(began + every_s - self._loop.time(), 0.0)
        try:
            async with asyncio.timeout(wait_s):
                await self._moved.wait()
            self._moved.clear()
        except TimeoutError:
            pass

    async def _pass(self) -> bool:
        """Look and send; tell whether there is more to do."""
        async with self._given.pool.acquire() as link:
            held = await self._watch(link)
            if held is None:
                return False
            if held.state in (TaskState.SCHEDULED, TaskState.RUNNING) and held.started_at is None:
                await self._begin(link)
                self._roomy = True  # nothing was sent to any
                return True
            if held.state is TaskState.RUNNING and not await self._send(link, held):
                return False
            if held.state is not TaskState.RUNNING and not held.open:
                await store.release(link, self._lease)
                return False
        return True

    async def _watch(self, link: Link) -> Held | None:
        """Note what became of what was sent."""
        now = self._loop.time()
        behind: int | None = 0
        self._busy = self._roomy = False
        while behind is not None:
            held, behind = await self._look(link, ItemState.SENT, behind, now)
            if held is None:
                return None
            self._busy = self._busy or behind is not None
        if now >= self._slow_at:
            self._slow_at = now + SLOW_S
            held, last = await self._look(link, ItemState.RETRYING, self._retrying_behind, now)
            self._retrying_behind = last or 0
        return held

    async def _look(
        self, link: Link, state: ItemState, behind: int, now: float
    ) -> tuple[Held | None, int | None]:
        """Look at a page of items; tell how the task stands, and where the next page begins."""
        async with link.transaction():
            held = await store.fence(link, self._lease, LEASE_S)
            if held is None:
                return None, None
            results, last = await store.watch(
                link, self._task, state, behind=behind, most=LOOKED_AT, at=self._given.clock()
            )
        for result in results:
            if state is ItemState.SENT and result.part in self._windows:
                self._windows[result.part].ended(1, now)
        ended = sum(result.state not in OPEN for result in results)
        return held._replace(open=held.open - ended), last

    async def _begin(self, link: Link) -> None:
        """Find the endpoints that the task is about, and how much there is to do."""
        total, exact = await self._total(link)
        await store.analyse_letters(link, total or 0)
        async with link.transaction():
            held = await store.fence(link, self._lease, LEASE_S)
            if held is None or held.state not in (TaskState.SCHEDULED, TaskState.RUNNING):
                return  # paused or cancelled since it was looked at
            await store.add_parts(link, self._task.id, await self._lanes(link))
            at = self._given.clock()
            await store.begin(link, self._task.id, at=at, total=total, exact=exact)

    async def _lanes(self, link: Link) -> list[tuple[str | None, str | None]]:
        task, plan = self._task, self._plan
        if task.kind not in OF_LETTERS:
            return [(task.app_id, plan.endpoint_id)]
        if task.kind not in SENDING:
            return [(None, None)]
        if plan.letter_ids is not None:
            return list(
                await store.lanes_of_ids(link, task.environment_id, plan.letter_ids, task.app_id)
            )
        wanted = source.letters_of(task, Part(number=0, app_id=None, endpoint_id=None))
        return list(
            await store.lanes_of_letters(
                link,
                task.environment_id,
                app_ids=wanted.app_ids,
                endpoint_ids=wanted.endpoint_ids,
                group_ids=wanted.group_ids,
            )
        )

    async def _total(self, link: Link) -> tuple[int | None, bool]:
        """Say how many letters there are; of messages nobody knows."""
        if self._task.kind not in OF_LETTERS:
            return None, False
        if self._plan.letter_ids is not None:
            return len(set(self._plan.letter_ids)), True
        wanted = source.letters_of(self._task, Part(number=0, app_id=None, endpoint_id=None))
        try:
            found = await search.count(link, wanted, MOST_COUNTED)
        except TimeoutError:
            return None, False
        return found.number, found.exact

    async def _send(self, link: Link, held: Held) -> bool:
        """Send where there is room; tell whether there is more to do."""
        await self._refresh(link)
        if not self._active:
            return await self._go_on_or_end(link, held)
        waiting = await store.waiting(link, self._task.id)
        for part in list(self._active.values()):
            await self._send_part(link, part, waiting.get(part.number, 0))
            await asyncio.sleep(0)
        return True

    async def _refresh(self, link: Link) -> None:
        """Read the parts anew that are at it, and take up others in the place of those done."""
        if self._active:
            parts = await store.parts(link, self._task.id, self._active.keys())
            self._active = {p.number: p for p in parts if p.state is PartState.OPEN}
        room = AT_ONCE - len(self._active)
        if room:
            behind = self._last_part
            for part in await store.open_parts(link, self._task.id, behind=behind, most=room):
                self._active[part.number] = part
                self._windows[part.number] = Window()
                self._last_part = part.number
        self._windows = {n: w for n, w in self._windows.items() if n in self._active}

    async def _send_part(self, link: Link, part: Part, waiting: int) -> None:
        now, why = self._loop.time(), verdict_of(part, self._plan)
        async with link.transaction():
            held = await store.fence(link, self._lease, LEASE_S)
            if held is None or held.state is not TaskState.RUNNING:
                return
            if why is not None:
                await self._stop_part(link, part, why)
                return
            lane = await self._sending.lane(link, part)
            room = PAGE
            if lane.blocked is None and self._sending.sends:
                window = self._windows[part.number].size(now, rate=lane.rate)
                room = room_of(part, self._plan, waiting=waiting, window=window)
                room = min(room, self._rate.room(now))
            if room <= 0:
                return
            self._roomy = self._roomy or room > PAGE
            room = min(room, PAGE)
            sent = await self._sending.step(link, part, lane, room=room, number=held.items + 1)
        self._rate.sent(sent)
        if sent:
            await self._sending.ring(part)

    async def _stop_part(self, link: Link, part: Part, why: str) -> None:
        await store.set_part(
            link,
            self._task.id,
            part,
            cursor=part.cursor,
            state=PartState.STOPPED,
            why=why,
            sent=0,
        )
        _log.info("task %s: no more to %s, %s", self._task.id, part.endpoint_id, why)

    async def _go_on_or_end(self, link: Link, held: Held) -> bool:
        """End the task if nothing is under way any more."""
        if held.open:
            return True
        async with link.transaction():
            now = await store.fence(link, self._lease, LEASE_S)
            if now is None or now.state is not TaskState.RUNNING or now.open:
                return now is not None
            number, why = await store.stopped(link, self._task.id)
            state = TaskState.FAILED if number else TaskState.FINISHED
            told = f"{number} endpoints were given up, the first because {why}" if number else ""
            at = self._given.clock()
            await store.end(link, self._task.id, state, at=at, why=told)
            await tell(link, self._task, state)
            await store.release(link, self._lease)
        return False
