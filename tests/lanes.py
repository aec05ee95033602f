"""Lanes without servers: endpoints, deliveries and queues as the engine has them in memory."""

from datetime import UTC, datetime

from dispatcher.lane import Lane, Lanes, Owed
from dispatcher.match import Target, Tenant
from dispatcher.schedule import Schedule
from schema.endpoint import EndpointState
from schema.retry import RetryPolicy

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SHARD = 0


def target(
    endpoint_id: str = "ep_1",
    *,
    app_id: str = "app_1",
    state: EndpointState = EndpointState.ACTIVE,
    rate: int | None = None,
    ordered: bool = False,
) -> Target:
    """Make an endpoint that is ready for sending."""
    return Target(
        app_id=app_id,
        id=endpoint_id,
        shard=SHARD,
        state=state,
        url_text="https://example.com/",
        url=None,
        head=b"",
        signer=None,
        event_types=None,
        channels=None,
        retry_policy=RetryPolicy(waits_s=()),
        throttle_rate=rate,
        ordered=ordered,
    )


def tenant(*targets: Target, app_id: str = "app_1", rate: int | None = None) -> Tenant:
    """Make an app with its endpoints."""
    return Tenant(
        id=app_id,
        environment_id="org_1",
        shard=SHARD,
        throttle_rate=rate,
        targets={one.id: one for one in targets},
    )


def owed(lane: Lane, message_id: str = "msg_1", payload: bytes | None = b"{}") -> Owed:
    """Make a delivery that is due."""
    return Owed(
        lane=lane,
        message_id=message_id,
        event_type="paid",
        payload=payload,
        content_type="application/json",
        due_at=AT,
    )


class Engine:
    """Lanes and their schedule, as the dispatcher joins them; the test is the clock."""

    def __init__(
        self,
        *,
        process_in_flight: int = 1_000,
        app_in_flight: int = 1_000,
        endpoint_in_flight: int = 1_000,
    ) -> None:
        """Own one shard since long ago."""
        self.lanes = Lanes(depth=10_000, held_bytes=2**30, most_in_flight=endpoint_in_flight)
        self.lanes.open_shard(SHARD, now=-1_000.0)
        self.schedule = Schedule(process_in_flight=process_in_flight, app_in_flight=app_in_flight)
        self._made = 0

    def lane(self, of: Tenant, endpoint_id: str = "ep_1") -> Lane:
        """Open the lane of an endpoint."""
        return self.lanes.open_lane(of, SHARD, of.id, endpoint_id, now=0.0)

    def fill(self, lane: Lane, number: int, payload: bytes = b"{}") -> None:
        """Owe so many deliveries more."""
        for _ in range(number):
            self._made += 1
            self.lanes.add_backlog(lane, owed(lane, f"msg_{self._made}", payload))
        self.schedule.ready(lane)

    def pick(self, now: float = 0.0) -> Owed | None:
        """Take the next delivery; it leaves at once."""
        picked = self.schedule.pick(now)
        if picked is not None and picked.send is not None:
            picked.send.left(now)
        return picked

    def pick_all(self, now: float = 0.0) -> list[Owed]:
        """Take whatever may go now."""
        return list(iter(lambda: self.pick(now), None))

    def land(self, picked: Owed) -> None:
        """End an attempt and settle its delivery."""
        self.lanes.let_go(picked)
        self.schedule.landed(picked)

    def send(self, now: float = 0.0) -> Owed | None:
        """Take the next delivery and end its attempt."""
        picked = self.pick(now)
        if picked is not None:
            self.land(picked)
        return picked
