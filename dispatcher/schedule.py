"""Who sends next: deficit round-robin over apps, and inside an app over its lanes.

Each turn an app may spend a quantum; a delivery costs one unit and one more per 64 KiB of payload,
so an app with large messages gets no more of the process than one with small ones. An app or lane
that may not send now (a cap, a rate, a Retry-After, its health) leaves the ring and costs nothing:
the end of one of its attempts, or a timer for its exact slot, brings it back. Times are seconds of
the loop's clock.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import Final

from dispatcher.lane import UNIT_BYTES, AppQueue, Lane, Owed
from dispatcher.pace import NOT_YET, Send

QUANTUM: Final = 4  # units per turn


class Schedule:
    """The ring of apps that have something to send, and the timers of those that must wait."""

    def __init__(self, *, process_in_flight: int, app_in_flight: int) -> None:
        """Start with nobody waiting."""
        self._process_in_flight = process_in_flight
        self._app_in_flight = app_in_flight
        self._ring: deque[AppQueue] = deque()
        self._timers: list[tuple[float, int, Lane | AppQueue]] = []
        self._order = count()
        self.in_flight = 0

    def ready(self, lane: Lane) -> None:
        """Let a lane take part, if it has something that may go."""
        if lane.queued or not lane.waiting:
            return
        lane.queued = True
        lane.app.ready.append(lane)
        self._join(lane.app)

    def pick(self, now: float) -> Owed | None:
        """Take the next delivery that may go now; it is in flight until `landed`."""
        if self.in_flight >= self._process_in_flight:
            return None
        while self._ring:
            app = self._ring[0]
            if app.deficit <= 0:
                app.deficit += QUANTUM
                self._ring.rotate(-1)
                continue
            owed = self._pick_of(app, now)
            if owed is not None:
                return owed
            self._ring.popleft()
            app.queued = False
        return None

    def landed(self, owed: Owed) -> None:
        """Note that an attempt has ended, however it went."""
        lane = owed.lane
        if owed.send is not None:
            owed.send.over()
        self.in_flight -= 1
        lane.in_flight -= 1
        lane.app.in_flight -= 1
        self.ready(lane)
        if lane.app.ready:
            self._join(lane.app)

    def left(self, owed: Owed, at: float) -> bool:
        """Note when a request has left; tell whether somebody of its app waited for that."""
        if owed.send is not None:
            owed.send.left(at)
        lane, app = owed.lane, owed.lane.app
        stalled = lane.stalled or app.stalled
        if stalled:
            lane.stalled = app.stalled = False
            self.ready(lane)
            if app.ready:
                self._join(app)
        return stalled

    def due(self, now: float) -> None:
        """Bring back whose time has come."""
        while self._timers and self._timers[0][0] <= now:
            waiter = heapq.heappop(self._timers)[2]
            waiter.wakes_at = 0.0
            if isinstance(waiter, Lane):
                self.ready(waiter)
            elif waiter.ready:
                self._join(waiter)

    def next_timer(self) -> float | None:
        """Tell when somebody's time comes next."""
        return self._timers[0][0] if self._timers else None

    def wait(self, waiter: Lane | AppQueue, until: float) -> None:
        """Bring a lane or an app back at a time, or when the send that its rate waits for left."""
        waiter.stalled = until == NOT_YET
        if waiter.stalled or waiter.wakes_at == until:
            return
        waiter.wakes_at = until
        heapq.heappush(self._timers, (until, next(self._order), waiter))

    def drop(self, lanes: Iterable[Lane]) -> None:
        """Take lanes out that are no more."""
        for lane in lanes:
            if lane.queued:
                lane.app.ready.remove(lane)
                lane.queued = False

    def _join(self, app: AppQueue) -> None:
        if not app.queued:
            app.queued = True
            app.deficit = min(app.deficit + QUANTUM, QUANTUM)  # what it owes stays owed
            self._ring.append(app)

    def _pick_of(self, app: AppQueue, now: float) -> Owed | None:
        """Take an app's next delivery, or None if it has to leave the ring."""
        while app.ready:
            if app.in_flight >= self._app_in_flight:
                return None
            slot = app.pace.slot() if app.pace is not None else now
            if slot > now and not _doomed_first(app):
                self.wait(app, slot)
                return None
            lane = app.ready[0]
            if not self._may_send(lane, now):
                app.ready.popleft()
                lane.queued = False
                continue
            return self._take(app, lane, now)
        return None

    def _may_send(self, lane: Lane, now: float) -> bool:
        """Tell whether a lane may send now; if not, what will bring it back is arranged."""
        if not lane.waiting or lane.paused:
            return False
        if lane.doomed is not None:
            return True
        health = lane.health
        if lane.in_flight >= health.cap or (lane.ordered and _unsettled(lane)):
            return False
        until = lane.hold_until
        if health.probe_at > until and not lane.urgent:
            until = health.probe_at
        if lane.pace is not None:
            until = max(until, lane.pace.slot())
        if until > now:
            self.wait(lane, until)
            return False
        return True

    def _take(self, app: AppQueue, lane: Lane, now: float) -> Owed:
        owed = lane.pop()
        owed.reason = lane.doomed or owed.reason
        if owed.reason is None:
            owed.probe = lane.health.failing
            if lane.pace is not None or app.pace is not None:
                owed.send = Send(now)
                for pace in (lane.pace, app.pace):
                    if pace is not None:
                        pace.take(owed.send)
        self.in_flight += 1
        lane.in_flight += 1
        app.in_flight += 1
        app.ready.rotate(-1)
        app.deficit -= 1 + owed.size // UNIT_BYTES
        return owed


def _unsettled(lane: Lane) -> bool:
    """Tell whether something of a lane was begun and is not settled yet."""
    return len(lane.held) > lane.waiting


def _doomed_first(app: AppQueue) -> bool:
    """Bring a lane to the front that sends nothing, if there is one: a rate does not hold it."""
    for _ in range(len(app.ready)):
        if app.ready[0].doomed is not None and app.ready[0].waiting:
            return True
        app.ready.rotate(-1)
    return False
