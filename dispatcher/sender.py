"""Sends what the schedule picks: attempt, decide, hand to settling.

There are as many workers, a task each, as there ever were attempts at a time; one that is done
takes the next delivery by itself, or rests. What was picked is begun until it is settled; `begun`
counts that by shard, so that a shard is only given back when nothing of it is under way. Times are
seconds of the loop's clock.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import Final

from dispatcher.attempt import Attempter
from dispatcher.lane import Lane, Owed
from dispatcher.lanes import HANDFUL, Lanes
from dispatcher.match import Target
from dispatcher.parts import Parts
from dispatcher.record import DELIVERED, decided, given_up
from dispatcher.refill import Refill
from dispatcher.schedule import Schedule
from dispatcher.settle import Settled, Settler
from dispatcher.verdict import decide, decide_test, is_of_code, speaks_of_endpoint, struggles
from schema.delivery import Outcome, Verdict

UNSETTLED_MOST: Final = 4096  # attempts that are not written yet; beyond, nothing is sent
HOLD_MOST_S: Final = 60.0  # how long a Retry-After of one answer holds the whole endpoint
_log = logging.getLogger(__name__)


class Sender:
    """Makes the attempts of one dispatcher."""

    def __init__(
        self,
        given: Parts,
        *,
        attempter: Attempter,
        lanes: Lanes,
        schedule: Schedule,
        refill: Refill,
        settler: Settler,
        sure_until: Callable[[], float],
    ) -> None:
        """Send nothing until `run`.

        Args:
            given: The clock, the dice, limits and metrics.
            attempter: Makes one attempt.
            lanes: What is due.
            schedule: Whose turn it is.
            refill: Told when a retry is due, and when a lane has room.
            settler: Writes what came of it.
            sure_until: Until when our leases hold for certain; nothing is begun after it.
        """
        self._given = given
        self._attempter = attempter
        self._lanes = lanes
        self._schedule = schedule
        self._refill = refill
        self._settler = settler
        self._sure_until = sure_until
        self.begun: Counter[int] = Counter()
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup | None = None
        self._resting: list[asyncio.Future[Owed]] = []  # workers that have nothing to do
        self._still = asyncio.Event()  # nothing is under way
        self._still.set()
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._late_firsts: list[float] = []  # since the last batch that was settled
        self._late_retries: list[float] = []

    async def run(self) -> None:
        """Send whatever may go, for ever. When cancelled, attempts under way are given up."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._loop.create_future()
            finally:
                self._group = None

    def hold(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self._group = None

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way to end and be written, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._still.wait()
                await self._settler.drained()

    def pump_soon(self) -> None:
        """Send what may go, once the loop has dealt with what is at hand."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        self._schedule.due(self._loop.time())
        while (owed := self._next()) is not None:
            self._begin(owed)
        self._arm()

    def _next(self) -> Owed | None:
        """Take the next delivery that may go now, if anything may be begun at all."""
        now = self._loop.time()
        if self._group is None or self._settler.waiting >= UNSETTLED_MOST:
            return None
        if now > self._sure_until():
            return None
        owed = self._schedule.pick(now)
        if owed is not None:
            lane = owed.lane
            self.begun[lane.shard] += 1
            if lane.look_at <= now:
                self._refill.drained(lane)
        return owed

    def _begin(self, owed: Owed) -> None:
        """Hand a delivery to a worker that rests, or to a new one."""
        self._still.clear()
        if self._resting:
            self._resting.pop().set_result(owed)
        elif self._group is not None:
            self._group.create_task(self._work(owed))

    async def _work(self, owed: Owed) -> None:
        """Deliver one after the other, for ever."""
        while True:
            await self._deliver(owed)
            following = self._next()
            if following is None:
                if not self._schedule.in_flight:
                    self._still.set()
                following = await self._rest()
            owed = following

    async def _rest(self) -> Owed:
        self._arm()  # what could not be picked may have to wait for its time
        resting: asyncio.Future[Owed] = self._loop.create_future()
        self._resting.append(resting)
        return await resting

    def _arm(self) -> None:
        """See to it that we pump when the next timer of the schedule has run out."""
        at = self._schedule.next_timer()
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at  # uvloop's handle for a time that has come does not say it
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump()

    async def _deliver(self, owed: Owed) -> None:
        """Make an attempt, or none if the delivery is to be given up as it is."""
        target = owed.lane.target
        started_at, outcome = self._given.clock(), None
        try:
            if owed.reason is None and target is not None and owed.payload is not None:
                late_s = max((started_at - owed.due_at).total_seconds(), 0.0)
                (self._late_retries if owed.attempts else self._late_firsts).append(late_s)
                outcome = await self._attempter.attempt(
                    target,
                    owed.message_id,
                    owed.payload,
                    owed.content_type,
                    event_type=owed.event_type,
                    on_sending=None if owed.send is None else self._noting(owed),
                )
            else:
                await asyncio.sleep(0)  # there may be many, and nothing else is waited for
        finally:
            self._schedule.landed(owed)
        if outcome is None or target is None:
            settlement = given_up(owed)
        else:
            succeeded = outcome.succeeded
            if not is_of_code(outcome):
                self._adapt(owed, outcome, succeeded=succeeded)
            verdict = DELIVERED if succeeded else self._decide(owed, target, outcome)
            settlement = decided(owed, target, outcome, started_at, verdict)
        self._settler.add(Settled(owed=owed, settlement=settlement))

    def _noting(self, owed: Owed) -> Callable[[], None]:
        """Note when a request leaves, as it counts for a rate.

        What is written goes out at the end of a turn of the loop, whose clock stands still
        meanwhile: the time is read in the next turn, from the clock that the loop's is taken from.
        """

        def note() -> None:
            self._loop.call_soon(self._left, owed)

        return note

    def _left(self, owed: Owed) -> None:
        if self._schedule.left(owed, monotonic()):
            self.pump_soon()

    def _adapt(self, owed: Owed, outcome: Outcome, *, succeeded: bool) -> None:
        """Let more or fewer go to the endpoint at the same time, or only probes."""
        lane = owed.lane
        if succeeded:
            if lane.health.failing:
                self._lanes.failing.discard(lane)
            lane.health.succeeded()
            return
        if struggles(outcome):
            lane.health.struggled()
            if outcome.retry_after_s:
                hold_s = min(outcome.retry_after_s, HOLD_MOST_S)
                lane.hold_until = max(lane.hold_until, self._loop.time() + hold_s)
        if speaks_of_endpoint(outcome):
            self._failed(lane, probe=owed.probe)
        else:
            self._lanes.failing.discard(lane)
            lane.health.answered()

    def _failed(self, lane: Lane, *, probe: bool) -> None:
        """Count a failure; of what waits for an endpoint that fails now a handful is kept."""
        now = self._loop.time()
        lane.health.failed(probe=probe, now=now, dice=self._given.dice())
        if not lane.health.failing or lane in self._lanes.failing:
            return
        self._lanes.failing.add(lane)
        if self._lanes.spill(lane, keep=HANDFUL):
            self._refill.look(lane, now)

    def _decide(self, owed: Owed, target: Target, outcome: Outcome) -> Verdict:
        if owed.once:
            return decide_test(outcome)
        return decide(
            outcome,
            policy=target.policy(owed.event_type),
            failures=owed.failures,
            now=self._given.clock(),
            dice=self._given.dice(),
            jitter=self._given.config.retry_jitter,
        )

    def settled(self, batch: Sequence[Settled], refused: Sequence[Settled]) -> None:
        """Take note of what was written, and which of it was refused.

        A lane is read again for what was refused: a Postgres that has lost its last moments may
        have got the row back meanwhile, and it was taken for one that is held.
        """
        now = self._loop.time()
        for one in batch:
            owed, due_at = one.owed, one.settlement.due_at
            lane = owed.lane
            self.begun[lane.shard] -= 1
            self._lanes.let_go(owed)
            if due_at is not None or lane.ordered or lane.look_at <= now:
                self._go_on(lane, owed, due_at)
        for lane in {id(one.owed.lane): one.owed.lane for one in refused}.values():
            if self._lanes.get(lane.app_id, lane.endpoint_id) is lane:
                self._refill.look(lane, now)
        self.observe()
        self.pump_soon()

    def _go_on(self, lane: Lane, owed: Owed, due_at: datetime | None) -> None:
        """See to what comes next of a lane of which something is settled."""
        if self._lanes.get(lane.app_id, lane.endpoint_id) is not lane:
            return
        if due_at is not None:
            if lane.ordered and owed.placed:  # it blocks what waits behind it
                self._lanes.spill(lane, keep=0)
                lane.blocked = True
            self._refill.look_when_due(lane, due_at)
        self._refill.drained(lane)
        if lane.ordered:
            self._schedule.ready(lane)

    def observe(self) -> None:
        """Tell the metrics how things stand."""
        metrics = self._given.metrics
        metrics.began(self._late_firsts, self._late_retries)
        self._late_firsts.clear()
        self._late_retries.clear()
        metrics.in_flight.set(self._schedule.in_flight)
        metrics.held.set(self._lanes.bytes)
        metrics.lanes.set(len(self._lanes))
        metrics.failing.set(len(self._lanes.failing))
