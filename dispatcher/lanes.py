"""All lanes of a process: opened, pointed at what their endpoints are, and kept within bounds.

Bounded are the deliveries of each lane, live and backlog apart, and the bytes of all together. What
has no room is Postgres's. Times are seconds of the loop's clock.
"""

from collections.abc import Iterator
from typing import Final

from dispatcher.health import Health, HealthLimits
from dispatcher.lane import NEVER, AppQueue, Lane, Owed
from dispatcher.match import Target, Tenant
from dispatcher.pace import WINDOW_S, repaced
from schema.delivery import Reason
from schema.endpoint import EndpointState

HANDFUL: Final = 8  # live and backlog each that a lane keeps while its endpoint fails
IN_ORDER: Final = 32  # deliveries of an ordered endpoint in memory
MOST_TESTS: Final = 10_000  # that are remembered for whoever waits


class Lanes:
    """All lanes of the shards that this process owns."""

    def __init__(self, *, depth: int, held_bytes: int, health: HealthLimits) -> None:
        """Hold nothing yet."""
        self._depth = depth
        self._held_bytes = held_bytes
        self._health = health
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._apps: dict[str, AppQueue] = {}
        self._by_shard: dict[int, dict[tuple[str, str], Lane]] = {}
        self._owned_since: dict[int, float] = {}
        self.failing: set[Lane] = set()
        self.tests: set[str] = set()  # messages that somebody waits for
        self.bytes = 0

    def __iter__(self) -> Iterator[Lane]:
        """All lanes."""
        return iter(self._lanes.values())

    def __len__(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    def open_shard(self, shard: int, *, now: float) -> None:
        """Begin to own a shard."""
        self._by_shard.setdefault(shard, {})
        self._owned_since.setdefault(shard, now)

    def close_shard(self, shard: int) -> list[Lane]:
        """Own a shard no more; give its lanes. What is in flight settles, or is refused."""
        closed = self._by_shard.pop(shard, {})
        self._owned_since.pop(shard, None)
        for key, lane in closed.items():
            self._drop(key, lane)
            for owed in (*lane.live, *lane.backlog):
                self.let_go(owed)
            lane.live.clear()
            lane.backlog.clear()
            lane.waiting = lane.urgent = 0
            lane.look_at = NEVER
        return list(closed.values())

    def owns(self, shard: int) -> bool:
        """Tell whether a shard's lanes are here."""
        return shard in self._by_shard

    def get(self, app_id: str, endpoint_id: str) -> Lane | None:
        """Give a lane that exists."""
        return self._lanes.get((app_id, endpoint_id))

    def of_app(self, app_id: str) -> list[Lane]:
        """Give the lanes of an app."""
        app = self._apps.get(app_id)
        return list(app.lanes.values()) if app is not None else []

    def open_lane(
        self, tenant: Tenant | None, shard: int, app_id: str, endpoint_id: str, *, now: float
    ) -> Lane:
        """Give the lane of an endpoint of a shard that we own.

        The former owner may have sent up to the take-over: a pace starts one window after it.
        """
        lane = self._lanes.get((app_id, endpoint_id))
        if lane is None:
            app = self._apps.setdefault(app_id, AppQueue(app_id=app_id))
            lane = Lane(
                shard=shard,
                app=app,
                endpoint_id=endpoint_id,
                target=None,
                health=Health(self._health),
                idle_since=now,
            )
            app.lanes[endpoint_id] = lane
            self._lanes[app_id, endpoint_id] = lane
            self._by_shard[shard][app_id, endpoint_id] = lane
            self._aim(lane, tenant, not_before=self._owned_since[shard] + WINDOW_S)
        return lane

    def retarget(self, lane: Lane, tenant: Tenant | None, *, now: float) -> None:
        """Point a lane at what its endpoint is now; what it sent without a limit is not known.

        What waits for an endpoint that is paused now, or ordered, goes back to Postgres.
        """
        former, was_ordered = lane.target, lane.ordered
        self._aim(lane, tenant, not_before=now + WINDOW_S)
        if former is not None and lane.target is not None and former.way != lane.target.way:
            lane.health.mended()
            self.failing.discard(lane)
            if former.oauth != lane.target.oauth:
                lane.hold_until = 0.0  # it may have waited for a token
        if lane.paused or (lane.ordered and not was_ordered):
            self.spill(lane, keep=0)

    def _aim(self, lane: Lane, tenant: Tenant | None, *, not_before: float) -> None:
        target = tenant.targets.get(lane.endpoint_id) if tenant is not None else None
        lane.target = target
        lane.doomed = _doom(target)
        lane.paused = target is not None and target.state is EndpointState.PAUSED
        lane.ordered = target is not None and target.ordered and lane.doomed is None
        lane.placed = lane.placed or lane.ordered
        lane.blocked = lane.blocked and lane.ordered
        rate = target.throttle_rate if target is not None else None
        lane.pace = repaced(lane.pace, rate, not_before=not_before)
        app_rate = tenant.throttle_rate if tenant is not None else None
        lane.app.pace = repaced(lane.app.pace, app_rate, not_before=not_before)

    def offer(self, lane: Lane, owed: Owed) -> bool:
        """Queue a delivery that was just accepted, if there is room; else Postgres keeps it."""
        if owed.message_id in lane.held or lane.paused or self.bytes >= self._held_bytes:
            return False
        if lane.ordered:
            if lane.look_at != NEVER or lane.refilling or lane.waiting >= self._depth_of(lane):
                return False  # something else comes first
        elif len(lane.live) >= self._depth_of(lane):
            return False
        lane.put(owed, live=not lane.ordered)
        self.bytes += owed.size
        return True

    def room(self, lane: Lane) -> int:
        """How many deliveries a refill may bring."""
        if lane.paused:
            return 0
        if self.bytes >= self._held_bytes:
            return 0 if lane.waiting else 1
        return max(self._depth_of(lane) - len(lane.backlog), 0)

    def is_low(self, lane: Lane) -> bool:
        """Tell whether it is time for a refill, if Postgres has something."""
        if lane.ordered:
            return not lane.held and not lane.paused
        return len(lane.backlog) <= self._depth_of(lane) // 2 and self.room(lane) > 0

    def add_backlog(self, lane: Lane, owed: Owed) -> None:
        """Queue a delivery that was read back."""
        lane.put(owed, live=False)
        self.bytes += owed.size

    def add_first(self, lane: Lane, owed: Owed) -> None:
        """Queue a delivery that was asked for by hand."""
        lane.put_first(owed)
        self.bytes += owed.size
        if owed.once:
            if len(self.tests) >= MOST_TESTS:
                self.tests.clear()  # whoever waits looks for himself now and then
            self.tests.add(owed.message_id)

    def spill(self, lane: Lane, *, keep: int) -> bool:
        """Give what waits back to Postgres, but for so many; tell whether there was any."""
        spilled = False
        while (owed := lane.take_last(keep)) is not None:
            self.let_go(owed)
            spilled = True
        return spilled

    def let_go(self, owed: Owed) -> None:
        """Forget a delivery that is settled, or whose place is Postgres again."""
        owed.lane.let_go(owed)
        self.bytes -= owed.size

    def _depth_of(self, lane: Lane) -> int:
        if lane.ordered:
            return min(IN_ORDER, self._depth)
        return min(HANDFUL, self._depth) if lane.health.failing else self._depth

    def sweep(self, *, now: float, idle_s: float) -> None:
        """Drop lanes that have had nothing to do for a while."""
        for key, lane in list(self._lanes.items()):
            if lane.held or lane.look_at != NEVER or lane.refilling or lane.queued:
                lane.idle_since = now
            elif now - lane.idle_since > idle_s:
                self._by_shard.get(lane.shard, {}).pop(key, None)
                self._drop(key, lane)

    def _drop(self, key: tuple[str, str], lane: Lane) -> None:
        self._lanes.pop(key, None)
        self.failing.discard(lane)
        lane.app.lanes.pop(lane.endpoint_id, None)
        if not lane.app.lanes and self._apps.get(lane.app_id) is lane.app:
            del self._apps[lane.app_id]


def _doom(target: Target | None) -> Reason | None:
    if target is None:
        return Reason.ENDPOINT_DELETED
    return Reason.ENDPOINT_DISABLED if target.state is EndpointState.DISABLED else None
