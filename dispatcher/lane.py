"""A lane: the deliveries of one endpoint that are due, in memory; the rest is Postgres.

A lane holds what is due now, live (just accepted) apart from backlog (read back from Postgres), and
otherwise knows `look_at`: when Postgres has something due for it. The lane of an ordered endpoint
holds one queue, the first of the order without a gap; it is read when it holds nothing, and takes
what was just accepted only while Postgres has nothing else. Times are seconds of the loop's clock.
Nothing here waits or reads: the schedule picks, the refill reads.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dispatcher.health import Health
from dispatcher.match import Target
from dispatcher.pace import Pace, Send
from schema.delivery import Reason
from schema.retry import MAX_ATTEMPTS

LIVE_PER_BACKLOG: Final = 3  # live deliveries that go for each of the backlog's
UNIT_BYTES: Final = 65_536  # a delivery costs its turn one unit, and one more for each of these
NEVER: Final = float("inf")


@dataclass(slots=True, kw_only=True, eq=False)
class Owed:
    """A delivery that is due, with what is sent. `payload` None: the message is no more.

    Attributes:
        placed: It has a place in the order of its endpoint's deliveries.
        reason: Set when it is to be given up without an attempt.
        send: Of the attempt under way.
        probe: The attempt was begun while the endpoint failed.
        size: Of the payload, in bytes.
    """

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
    placed: bool = False
    reason: Reason | None = None
    send: Send | None = None
    probe: bool = False
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Measure once what is asked for several times."""
        self.size = 0 if self.payload is None else len(self.payload)

    @property
    def once(self) -> bool:
        """Whether it is a test: its first run ends with its first attempt."""
        return self.run == 0 and self.failures == MAX_ATTEMPTS


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
    stalled: bool = False  # waits for a send of its rate to leave
    wakes_at: float = 0.0  # of its newest timer


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """One endpoint's queue. What follows from the target is kept beside it: it is asked for often.

    Attributes:
        doomed: Why whatever is owed is to be parked, if so.
        paused: What is owed is held for the time being.
        ordered: The next goes when the former is settled.
        waiting: How many deliveries wait in memory.
        held: The ids of what waits, is in flight or is being settled.
        urgent: So many of the backlog's first were asked for by hand.
        released: What was let go of during a refill.
        by_hand: Postgres may have something that was asked for by hand.
        placed: Postgres may have deliveries with places.
        blocked: The first of the order waits in Postgres until `look_at` or later.
        hold_until: A Retry-After that goes for the whole endpoint.
        queued: It stands in its app's `ready`.
        stalled: It waits for a send of its rate to leave.
        wakes_at: Of its newest timer.
    """

    shard: int
    app: AppQueue
    endpoint_id: str
    target: Target | None
    health: Health
    doomed: Reason | None = None
    paused: bool = False
    ordered: bool = False
    pace: Pace | None = None
    live: deque[Owed] = field(default_factory=deque)
    backlog: deque[Owed] = field(default_factory=deque)
    waiting: int = 0
    held: set[str] = field(default_factory=set)
    urgent: int = 0
    bytes: int = 0
    in_flight: int = 0
    look_at: float = NEVER
    refilling: bool = False
    released: set[str] = field(default_factory=set)
    by_hand: bool = False
    placed: bool = False
    blocked: bool = False
    hold_until: float = 0.0
    queued: bool = False
    stalled: bool = False
    turns: int = 0
    wakes_at: float = 0.0
    idle_since: float = 0.0

    @property
    def app_id(self) -> str:
        """The tenant."""
        return self.app.app_id

    def pop(self) -> Owed:
        """Take the next: by hand, then live first, but one of the backlog after every few."""
        self.waiting -= 1
        if self.urgent:
            self.urgent -= 1
            return self.backlog.popleft()
        self.turns += 1
        if self.backlog and (not self.live or self.turns % (LIVE_PER_BACKLOG + 1) == 0):
            return self.backlog.popleft()
        return self.live.popleft()

    def put(self, owed: Owed, *, live: bool) -> None:
        """Queue a delivery that is not held yet."""
        (self.live if live else self.backlog).append(owed)
        self._hold(owed)

    def put_first(self, owed: Owed) -> None:
        """Queue a delivery that was asked for by hand, behind those like it."""
        self.backlog.insert(self.urgent, owed)
        self.urgent += 1
        self._hold(owed)

    def take_last(self, keep: int) -> Owed | None:
        """Take back the last of what waits, but for so many live and so many of the backlog."""
        for queue in (self.live, self.backlog):
            if len(queue) > keep:
                owed = queue.pop()
                self.waiting -= 1
                self.urgent = min(self.urgent, len(self.backlog))
                return owed
        return None

    def let_go(self, owed: Owed) -> None:
        """Forget a delivery that is settled, or whose place is Postgres again."""
        self.held.discard(owed.message_id)
        if self.refilling:
            self.released.add(owed.message_id)
        self.bytes -= owed.size

    def _hold(self, owed: Owed) -> None:
        self.waiting += 1
        self.held.add(owed.message_id)
        self.bytes += owed.size
