"""Lanes: the deliveries of one endpoint that are due, in memory and bounded; the rest is Postgres.

A lane holds what is due now, live (just accepted) apart from backlog (read back from Postgres), and
otherwise knows `look_at`: when Postgres has something due for it. Times are seconds of the loop's
clock. Nothing here waits or reads: the schedule picks, the refill reads.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dispatcher.match import Target, Tenant
from dispatcher.pace import WINDOW_S, Pace, Send, repaced
from schema.delivery import Reason, State
from schema.endpoint import EndpointState

LIVE_PER_BACKLOG: Final = 3  # live deliveries that go for each of the backlog's
UNIT_BYTES: Final = 65_536  # a delivery costs its turn one unit, and one more for each of these
NEVER: Final = float("inf")


@dataclass(slots=True, kw_only=True, eq=False)
class Owed:
    """A delivery that is due, with what is sent. `payload` None: the message is no more."""

    lane: "Lane"
    message_id: str
    event_type: str
    payload: bytes | None
    content_type: str
    attempts: int = 0
    failures: int = 0
    run: int = 0
    manual: bool = False
    due_at: datetime
    was_delivered: bool = False
    reason: Reason | None = None  # set when it is to be given up without an attempt
    send: Send | None = None  # of the attempt under way

    @property
    def state(self) -> State:
        """The state that its row has."""
        return State.RETRYING if self.failures else State.PENDING


@dataclass(slots=True, kw_only=True, eq=False)
class AppQueue:
    """The lanes of one app that may have something to send."""

    app_id: str
    pace: Pace | None = None
    in_flight: int = 0
    deficit: int = 0
    ready: deque["Lane"] = field(default_factory=deque)
    lanes: dict[str, "Lane"] = field(default_factory=dict)
    queued: bool = False  # stands in the schedule's ring
    wakes_at: float = 0.0  # of its newest timer


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """One endpoint's queue. `held` are the ids of what is queued, in flight or being settled."""

    shard: int
    app: AppQueue
    endpoint_id: str
    target: Target | None
    pace: Pace | None = None
    live: deque[Owed] = field(default_factory=deque)
    backlog: deque[Owed] = field(default_factory=deque)
    held: set[str] = field(default_factory=set)
    bytes: int = 0
    in_flight: int = 0
    cap: int
    look_at: float = NEVER
    refilling: bool = False
    released: set[str] = field(default_factory=set)  # let go of during a refill
    hold_until: float = 0.0  # a Retry-After that goes for the whole endpoint
    queued: bool = False  # stands in its app's `ready`
    turns: int = 0
    wakes_at: float = 0.0  # of its newest timer
    idle_since: float = 0.0

    @property
    def app_id(self) -> str:
        """The tenant."""
        return self.app.app_id

    @property
    def waiting(self) -> int:
        """How many deliveries wait in memory."""
        return len(self.live) + len(self.backlog)

    @property
    def doomed(self) -> Reason | None:
        """Why whatever is owed is to be parked, if so."""
        if self.target is None:
            return Reason.ENDPOINT_DELETED
        if self.target.state is EndpointState.DISABLED:
            return Reason.ENDPOINT_DISABLED
        return None

    @property
    def paused(self) -> bool:
        """Whether what is owed is held for the time being."""
        return self.target is not None and self.target.state is EndpointState.PAUSED

    @property
    def most_in_flight(self) -> int:
        """How many may be in flight now."""
        return 1 if self.target is not None and self.target.ordered else self.cap

    def pop(self) -> Owed:
        """Take the next: live first, but one of the backlog after every few."""
        self.turns += 1
        if self.backlog and (not self.live or self.turns % (LIVE_PER_BACKLOG + 1) == 0):
            return self.backlog.popleft()
        return self.live.popleft()

    def put(self, owed: Owed, *, live: bool) -> None:
        """Queue a delivery that is not held yet."""
        (self.live if live else self.backlog).append(owed)
        self.held.add(owed.message_id)
        self.bytes += len(owed.payload or b"")

    def let_go(self, owed: Owed) -> None:
        """Forget a delivery that is settled, or whose place is Postgres again."""
        self.held.discard(owed.message_id)
        if self.refilling:
            self.released.add(owed.message_id)
        self.bytes -= len(owed.payload or b"")

    def succeeded(self, most: int) -> None:
        """Let one more go at the same time."""
        self.cap = min(self.cap + 1, most)

    def struggled(self) -> None:
        """Let half as many go at the same time."""
        self.cap = max(self.cap // 2, 1)


class Lanes:
    """All lanes of the shards that this process owns."""

    def __init__(self, *, depth: int, held_bytes: int, most_in_flight: int) -> None:
        """Hold nothing yet."""
        self._depth = depth
        self._held_bytes = held_bytes
        self._most_in_flight = most_in_flight
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._apps: dict[str, AppQueue] = {}
        self._by_shard: dict[int, dict[tuple[str, str], Lane]] = {}
        self._owned_since: dict[int, float] = {}
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
                cap=self._most_in_flight,
                idle_since=now,
            )
            app.lanes[endpoint_id] = lane
            self._lanes[app_id, endpoint_id] = lane
            self._by_shard[shard][app_id, endpoint_id] = lane
            self._aim(lane, tenant, not_before=self._owned_since[shard] + WINDOW_S)
        return lane

    def retarget(self, lane: Lane, tenant: Tenant | None, *, now: float) -> None:
        """Point a lane at what its endpoint is now; what it sent without a limit is not known."""
        self._aim(lane, tenant, not_before=now + WINDOW_S)

    def _aim(self, lane: Lane, tenant: Tenant | None, *, not_before: float) -> None:
        lane.target = tenant.targets.get(lane.endpoint_id) if tenant is not None else None
        rate = lane.target.throttle_rate if lane.target is not None else None
        lane.pace = repaced(lane.pace, rate, not_before=not_before)
        app_rate = tenant.throttle_rate if tenant is not None else None
        lane.app.pace = repaced(lane.app.pace, app_rate, not_before=not_before)

    def offer(self, lane: Lane, owed: Owed) -> bool:
        """Queue a delivery that was just accepted, if there is room; else Postgres keeps it."""
        if owed.message_id in lane.held:
            return False
        if len(lane.live) >= self._depth or self.bytes >= self._held_bytes or lane.paused:
            return False
        if lane.target is not None and lane.target.ordered:
            return False  # order is Postgres's: by due time
        lane.put(owed, live=True)
        self.bytes += len(owed.payload or b"")
        return True

    def room(self, lane: Lane) -> int:
        """How many deliveries a refill may bring."""
        if lane.paused:
            return 0
        if self.bytes >= self._held_bytes:
            return 0 if lane.waiting else 1
        return max(self._depth - len(lane.backlog), 0)

    def add_backlog(self, lane: Lane, owed: Owed) -> None:
        """Queue a delivery that was read back."""
        lane.put(owed, live=False)
        self.bytes += len(owed.payload or b"")

    def let_go(self, owed: Owed) -> None:
        """Forget a delivery that is settled, or whose place is Postgres again."""
        owed.lane.let_go(owed)
        self.bytes -= len(owed.payload or b"")

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
        lane.app.lanes.pop(lane.endpoint_id, None)
        if not lane.app.lanes and self._apps.get(lane.app_id) is lane.app:
            del self._apps[lane.app_id]
