"""Turns are fair between apps, cost what is sent, and obey every cap, rate and hold."""

from collections import Counter
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.lane import UNIT_BYTES, Lane, Lanes, Owed
from dispatcher.match import Target, Tenant
from dispatcher.pace import WINDOW_S
from dispatcher.schedule import QUANTUM, Schedule
from schema.delivery import Reason
from schema.endpoint import EndpointState
from schema.retry import RetryPolicy

DUE = datetime(2026, 5, 6, tzinfo=UTC)


class Bench:
    """Lanes and a schedule, and a clock that only moves when it is told to."""

    def __init__(self, *, process: int = 1_000, app: int = 1_000, endpoint: int = 1_000) -> None:
        self.schedule = Schedule(process_in_flight=process, app_in_flight=app)
        self.lanes = Lanes(depth=100_000, held_bytes=1 << 40, most_in_flight=endpoint)
        self.lanes.open_shard(0, now=-WINDOW_S)
        self.now = 0.0
        self._numbers = count()

    def lane(
        self,
        app_id: str,
        endpoint_id: str = "ep",
        *,
        rate: int | None = None,
        app_rate: int | None = None,
        state: EndpointState = EndpointState.ACTIVE,
    ) -> Lane:
        tenant = Tenant(id=app_id, environment_id="org", shard=0, throttle_rate=app_rate)
        tenant.targets[endpoint_id] = Target(
            app_id=app_id,
            id=endpoint_id,
            shard=0,
            state=state,
            url_text="http://receiver/",
            url=None,
            head=b"",
            signer=None,
            event_types=None,
            channels=None,
            retry_policy=RetryPolicy(waits_s=()),
            throttle_rate=rate,
            ordered=False,
        )
        return self.lanes.open_lane(tenant, 0, app_id, endpoint_id, now=0.0)

    def owe(self, lane: Lane, number: int, *, size: int = 10) -> None:
        for _ in range(number):
            self.lanes.add_backlog(
                lane,
                Owed(
                    lane=lane,
                    message_id=f"m{next(self._numbers)}",
                    event_type="a",
                    payload=bytes(size),
                    content_type="application/json",
                    due_at=DUE,
                ),
            )
        self.schedule.ready(lane)

    def pick(self) -> Owed | None:
        """Pick one that leaves at once."""
        owed = self.schedule.pick(self.now)
        if owed is not None and owed.send is not None:
            owed.send.left(self.now)
        return owed

    def pick_all(self) -> list[Owed]:
        picked = []
        while (owed := self.pick()) is not None:
            picked.append(owed)
        return picked

    def land(self, owed: Owed) -> None:
        self.schedule.landed(owed)
        self.lanes.let_go(owed)

    def go_on(self) -> bool:
        """Let the clock come to the next timer."""
        at = self.schedule.next_timer()
        if at is None:
            return False
        self.now = max(self.now, at)
        self.schedule.due(self.now)
        return True


def turns(picked: list[Owed]) -> Counter[str]:
    return Counter(owed.lane.app_id for owed in picked)


def test_a_flooding_app_gets_no_more_turns_than_a_quiet_one() -> None:
    bench = Bench(process=1)
    bench.owe(bench.lane("flood"), 1_000)
    bench.owe(bench.lane("flood", "ep2"), 1_000)
    bench.owe(bench.lane("quiet"), 50)
    picked = []

    for _ in range(100):
        owed = bench.pick()
        assert owed is not None
        picked.append(owed)
        bench.land(owed)

    assert turns(picked)["flood"] - turns(picked)["quiet"] <= QUANTUM


def test_an_app_that_comes_new_waits_for_no_more_than_one_round() -> None:
    bench = Bench(process=1)
    for n in range(10):
        bench.owe(bench.lane(f"app{n}"), 1_000)
    for _ in range(77):
        owed = bench.pick()
        assert owed is not None
        bench.land(owed)

    bench.owe(bench.lane("new"), 1)

    order = []
    while "new" not in order:
        owed = bench.pick()
        assert owed is not None
        order.append(owed.lane.app_id)
        bench.land(owed)
    assert len(order) <= 10 * 4 + 1


@pytest.mark.parametrize("in_flight", [1, 1_000])
def test_large_payloads_cost_their_share(in_flight: int) -> None:
    """With a cap of one an app leaves the ring after each of its sends: its debt must not."""
    bench = Bench(process=1, endpoint=in_flight)
    bench.owe(bench.lane("large"), 1_000, size=7 * UNIT_BYTES)
    bench.owe(bench.lane("small"), 1_000)
    units: Counter[str] = Counter()

    for _ in range(900):
        owed = bench.pick()
        assert owed is not None
        units[owed.lane.app_id] += 1 + len(owed.payload or b"") // UNIT_BYTES
        bench.land(owed)

    assert units["large"] == pytest.approx(units["small"], rel=0.05)


def test_lanes_of_an_app_take_turns() -> None:
    bench = Bench()
    for name in ("ep1", "ep2", "ep3"):
        bench.owe(bench.lane("app", name), 3)

    picked = [owed.lane.endpoint_id for owed in bench.pick_all()]

    assert picked == ["ep1", "ep2", "ep3"] * 3


@pytest.mark.parametrize(
    ("caps", "most"),
    [
        ({"process": 5}, 5),
        ({"app": 3}, 6),
        ({"endpoint": 2}, 8),
        ({"process": 100, "app": 7, "endpoint": 3}, 12),
    ],
)
def test_no_cap_is_exceeded_and_what_lands_makes_room(caps: dict[str, int], most: int) -> None:
    bench = Bench(**caps)
    for app_id in ("app1", "app2"):
        for endpoint_id in ("ep1", "ep2"):
            bench.owe(bench.lane(app_id, endpoint_id), 50)

    picked = bench.pick_all()

    assert len(picked) == bench.schedule.in_flight == most
    bench.land(picked[0])
    again = bench.pick_all()
    assert len(again) == 1


def test_everything_goes_out_in_the_end_whatever_lands_first() -> None:
    bench = Bench(process=7, app=3, endpoint=2)
    for n in range(6):
        bench.owe(bench.lane(f"app{n % 3}", f"ep{n}"), 20)
    flying, done = bench.pick_all(), 0

    while flying:
        bench.land(flying.pop(done % len(flying)))
        done += 1
        flying += bench.pick_all()

    assert done == 120
    assert bench.schedule.in_flight == 0


def test_a_paced_lane_leaves_the_ring_and_comes_back_at_its_slot() -> None:
    bench = Bench()
    bench.owe(bench.lane("app", rate=2), 5)
    bench.owe(bench.lane("app", "other"), 3)

    first = bench.pick_all()

    assert Counter(o.lane.endpoint_id for o in first) == {"ep": 2, "other": 3}
    at = bench.schedule.next_timer()
    assert at == bench.now + WINDOW_S
    assert bench.pick() is None
    bench.go_on()
    assert len(bench.pick_all()) == 2
    bench.go_on()
    assert len(bench.pick_all()) == 1


@given(
    st.integers(1, 6),
    st.lists(st.one_of(st.none(), st.integers(1, 6)), min_size=1, max_size=4),
    st.lists(st.integers(1, 12), min_size=4, max_size=4),
)
def test_rates_of_app_and_endpoints_hold_together(
    app_rate: int, rates: list[int | None], numbers: list[int]
) -> None:
    bench = Bench()
    for n, rate in enumerate(rates):
        bench.owe(bench.lane("app", f"ep{n}", rate=rate, app_rate=app_rate), numbers[n])
    total = sum(numbers[: len(rates)])
    sent: list[tuple[float, str]] = []

    while len(sent) < total:
        for owed in bench.pick_all():
            sent.append((bench.now, owed.lane.endpoint_id))
            bench.land(owed)
        assert len(sent) == total or bench.go_on()

    limits = {f"ep{n}": rate for n, rate in enumerate(rates) if rate is not None}
    for first, _ in sent:
        window = Counter(name for at, name in sent if first <= at < first + 1)
        assert window.total() <= app_rate
        assert all(window[name] <= rate for name, rate in limits.items())
    assert sent[-1][0] <= WINDOW_S * total, "nobody sleeps past a slot"


def test_what_is_doomed_is_given_up_at_once_whatever_the_rates_say() -> None:
    bench = Bench()
    bench.owe(bench.lane("app", "ep1", app_rate=1), 10)
    bench.owe(bench.lane("app", "ep2", app_rate=1, state=EndpointState.DISABLED), 10)

    picked = bench.pick_all()

    assert Counter(owed.reason for owed in picked) == {None: 1, Reason.ENDPOINT_DISABLED: 10}


def test_a_hold_keeps_a_lane_back_and_no_other() -> None:
    bench = Bench()
    held, other = bench.lane("app", "held"), bench.lane("app", "other")
    held.hold_until = 30.0
    bench.owe(held, 1)
    bench.owe(other, 1)

    assert [owed.lane for owed in bench.pick_all()] == [other]
    bench.go_on()
    assert (bench.now, [owed.lane for owed in bench.pick_all()]) == (30.0, [held])


def test_a_paused_lane_sends_nothing() -> None:
    bench = Bench()
    bench.owe(bench.lane("app", state=EndpointState.PAUSED), 3)

    assert bench.pick() is None
    assert bench.schedule.next_timer() is None


def test_a_dropped_lane_is_not_picked_and_the_rest_goes_on() -> None:
    bench = Bench()
    lane = bench.lane("app")
    bench.owe(lane, 3)
    bench.lanes.open_shard(1, now=-WINDOW_S)
    flying = bench.pick()
    assert flying is not None

    bench.schedule.drop(bench.lanes.close_shard(0))

    assert bench.pick() is None
    bench.schedule.landed(flying)
    assert bench.pick() is None
    assert bench.schedule.in_flight == 0
