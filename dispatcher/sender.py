"""Sends what the schedule picks: attempt, decide, hand to settling. One task per attempt.

What was picked is begun until it is settled; `begun` counts that by shard, so that a shard is only
given back when nothing of it is under way. Times are seconds of the loop's clock.
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
from dispatcher.config import DispatcherConfig
from dispatcher.lane import Lanes, Owed
from dispatcher.match import Target
from dispatcher.metrics import Metrics
from dispatcher.refill import Refill
from dispatcher.schedule import Schedule
from dispatcher.settle import Settled, Settler
from dispatcher.verdict import decide, struggles
from schema import ids
from schema.delivery import Delivered, Outcome, Park, Reason, Retry, State, Trigger, Verdict
from schema.store.settle import AttemptRow, Settlement

UNSETTLED_MOST: Final = 4096  # attempts that are not written yet; beyond, nothing is sent
HOLD_MOST_S: Final = 60.0  # how long a Retry-After of one answer holds the whole endpoint
_log = logging.getLogger(__name__)


class Sender:
    """Makes the attempts of one dispatcher."""

    def __init__(
        self,
        *,
        attempter: Attempter,
        lanes: Lanes,
        schedule: Schedule,
        refill: Refill,
        settler: Settler,
        clock: Callable[[], datetime],
        dice: Callable[[], float],
        config: DispatcherConfig,
        metrics: Metrics,
        sure_until: Callable[[], float],
    ) -> None:
        """Send nothing until `run`.

        Args:
            attempter: Makes one attempt.
            lanes: What is due.
            schedule: Whose turn it is.
            refill: Told when a retry is due, and when a lane has room.
            settler: Writes what came of it.
            clock: Aware UTC.
            dice: Uniform in [0, 1).
            config: Limits.
            metrics: What is counted.
            sure_until: Until when our leases hold for certain; nothing is begun after it.
        """
        self._attempter = attempter
        self._lanes = lanes
        self._schedule = schedule
        self._refill = refill
        self._settler = settler
        self._clock = clock
        self._dice = dice
        self._config = config
        self._metrics = metrics
        self._sure_until = sure_until
        self.begun: Counter[int] = Counter()
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None

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
                while self._under_way:
                    await asyncio.wait(self._under_way)
                await self._settler.drained()

    def pump_soon(self) -> None:
        """Send what may go, once the loop has dealt with what is at hand."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        group, now = self._group, self._loop.time()
        if group is None or now > self._sure_until():
            return
        self._schedule.due(now)
        while self._settler.waiting < UNSETTLED_MOST:
            owed = self._schedule.pick(now)
            if owed is None:
                break
            self.begun[owed.lane.shard] += 1
            task = group.create_task(self._deliver(owed))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            self._refill.drained(owed.lane)
        self._arm(self._schedule.next_timer())

    def _arm(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._pump)

    async def _deliver(self, owed: Owed) -> None:
        """Make an attempt, or none if the delivery is to be given up as it is."""
        target = owed.lane.target
        started_at, outcome = self._clock(), None
        try:
            if owed.reason is None and target is not None and owed.payload is not None:
                self._observe_start(owed, started_at)
                outcome = await self._attempter.attempt(
                    target,
                    owed.message_id,
                    owed.payload,
                    owed.content_type,
                    on_sending=lambda: self._left(owed),
                )
        finally:
            self._schedule.landed(owed)
            self.pump_soon()
        if outcome is None or target is None:
            settlement = _given_up(owed)
        else:
            self._adapt(owed, outcome)
            settlement = self._decided(owed, target, outcome, started_at)
        self._settler.add(Settled(owed=owed, settlement=settlement))

    def _left(self, owed: Owed) -> None:
        """Note when a request leaves, if that counts.

        What is written goes out at the end of a turn of the loop, whose clock stands still
        meanwhile: the time is read in the next turn, from the clock that the loop's is taken from.
        """
        send = owed.send
        if send is not None and (owed.lane.pace is not None or owed.lane.app.pace is not None):
            self._loop.call_soon(lambda: send.left(monotonic()))

    def _observe_start(self, owed: Owed, started_at: datetime) -> None:
        late_s = max((started_at - owed.due_at).total_seconds(), 0.0)
        histogram = self._metrics.lateness if owed.attempts else self._metrics.first_attempt
        histogram.observe(late_s)

    def _adapt(self, owed: Owed, outcome: Outcome) -> None:
        """Let more or fewer go to the endpoint at the same time."""
        lane = owed.lane
        if outcome.succeeded:
            lane.succeeded(self._config.endpoint_in_flight)
        elif struggles(outcome):
            lane.struggled()
            if outcome.retry_after_s:
                hold_s = min(outcome.retry_after_s, HOLD_MOST_S)
                lane.hold_until = max(lane.hold_until, self._loop.time() + hold_s)

    def _decided(
        self, owed: Owed, target: Target, outcome: Outcome, started_at: datetime
    ) -> Settlement:
        verdict = decide(
            outcome,
            policy=target.retry_policy,
            failures=owed.failures,
            now=self._clock(),
            dice=self._dice(),
            jitter=self._config.retry_jitter,
        )
        word, state, reason, due_at = _stands(verdict, was_delivered=owed.was_delivered)
        return Settlement(
            app_id=owed.lane.app_id,
            message_id=owed.message_id,
            endpoint_id=owed.lane.endpoint_id,
            state=state,
            attempts=owed.attempts + 1,
            failures=owed.failures + (not outcome.succeeded),
            run=owed.run,
            due_at=due_at,
            reason=reason,
            disable=str(reason) if isinstance(verdict, Park) and verdict.disable else None,
            attempt=AttemptRow(
                id=ids.new_id(ids.ATTEMPT, started_at),
                event_type=owed.event_type,
                trigger=Trigger.MANUAL if owed.manual else Trigger.SCHEDULED,
                verdict=word,
                url=target.url_text,
                started_at=started_at,
                outcome=outcome,
            ),
        )

    def settled(self, batch: Sequence[Settled]) -> None:
        """Take note of what was written."""
        for one in batch:
            owed = one.owed
            lane = owed.lane
            self.begun[lane.shard] -= 1
            self._lanes.let_go(owed)
            due_at = one.settlement.due_at
            if self._lanes.get(lane.app_id, lane.endpoint_id) is lane:
                if due_at is not None:
                    self._refill.look_when_due(lane, due_at)
                self._refill.drained(lane)
        self._metrics.in_flight.set(self._schedule.in_flight)
        self._metrics.held.set(self._lanes.bytes)
        self._metrics.lanes.set(len(self._lanes))
        self.pump_soon()


def _stands(
    verdict: Verdict, *, was_delivered: bool
) -> tuple[str, State, Reason | None, datetime | None]:
    """Say what a verdict is called in the log, and where its delivery stands from now on.

    What had been delivered before and was sent again by hand stays delivered, whatever came of it.
    """
    if isinstance(verdict, Delivered):
        return "delivered", State.DELIVERED, None, None
    if was_delivered:
        return "failed", State.DELIVERED, None, None
    if isinstance(verdict, Retry):
        return "retry", State.RETRYING, None, verdict.due_at
    return "park", State.DEAD, verdict.reason, None


def _given_up(owed: Owed) -> Settlement:
    return Settlement(
        app_id=owed.lane.app_id,
        message_id=owed.message_id,
        endpoint_id=owed.lane.endpoint_id,
        state=State.DELIVERED if owed.was_delivered else State.DEAD,
        attempts=owed.attempts,
        failures=owed.failures,
        run=owed.run,
        reason=None if owed.was_delivered else owed.reason or Reason.ENDPOINT_DELETED,
    )
