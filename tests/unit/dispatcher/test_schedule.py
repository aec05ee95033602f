"""Turns are fair between apps, cost what is sent, and obey every cap, rate and hold."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.health import HealthLimits
from dispatcher.lane import UNIT_BYTES, Lane, Owed
from dispatcher.lanes import Lanes
from dispatcher.match import Tenant
from dispatcher.pace import WINDOW_S
from dispatcher.schedule import QUANTUM, Schedule
from schema.delivery import Reason
from schema.endpoint import EndpointState
from tests.targets import TARGET

DUE = datetime(2026, 5, 6, tzinfo=UTC)


class Bench:
    """Lanes and a schedule, and a clock that only moves when it is told to."""

    def __init__(self, *, process: int = 1_000, app: int = 1_000, endpoint: int = 1_000) -> None:
        self.schedule = Schedule(process_in_flight=process, app_in_flight=app)
        self.lanes = Lanes(
            depth=100_000, held_bytes=1 << 40, health=HealthLimits(most_in_flight=endpoint)
        )
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
        ordered: bool = False,
    ) -> Lane:
        tenant = Tenant(id=app_id, environment_id="org", shard=0, throttle_rate=app_rate)
        tenant.targets[endpoint_id] = replace(
            TARGET,
            app_id=app_id,
            id=endpoint_id,
            state=state,
            throttle_rate=rate,
            ordered=ordered,
        )
        return self.lanes.open_lane(tenant, 0, app_id, endpoint_id, now=0.0)

    def set_rate(self, lane: Lane, rate: int | None) -> None:
        assert lane.target is not None
        tenant = Tenant(id=lane.app_id, environment_id="org", shard=0, throttle_rate=None)
        tenant.targets[lane.target.id] = replace(lane.target, throttle_rate=rate)
        self.lanes.retarget(lane, tenant, now=self.now)
        self.schedule.ready(lane)

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


app_loads = st.lists(
    st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=2, max_size=5
)  # units of each app's payloads, over and over


@given(app_loads, st.integers(1, 3), st.integers(60, 200))
def test_apps_with_something_to_send_are_never_further_apart_than_a_turn_and_a_delivery(
    loads: list[list[int]], process: int, turns: int
) -> None:
    """Units sent since any moment differ by a quantum, what one delivery may cost, and its cap."""
    bench, spent, flying = Bench(process=process), [0] * len(loads), list[Owed]()
    lanes = [bench.lane(f"app{n}") for n in range(len(loads))]
    for lane, sizes in zip(lanes, loads, strict=True):
        for n in range(turns):
            bench.owe(lane, 1, size=sizes[n % len(sizes)] * UNIT_BYTES)
    largest, history = 1 + max(map(max, loads)), [list(spent)]

    for n in range(turns):
        owed = bench.pick()
        while owed is None:
            bench.land(flying.pop(n % len(flying)))
            owed = bench.pick()
        flying.append(owed)
        spent[lanes.index(owed.lane)] += 1 + owed.size // UNIT_BYTES
        history.append(list(spent))

    for since in history[:: max(len(history) // 10, 1)]:
        gained = [now - then for now, then in zip(spent, since, strict=True)]
        assert max(gained) - min(gained) <= 2 * (QUANTUM + largest)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_nobody_starves_and_no_cap_is_passed_in_whatever_order_attempts_end(
    endpoints: list[int], process: int, app: int, endpoint: int, chance: Random
) -> None:
    bench = Bench(process=process, app=app, endpoint=endpoint)
    lanes = [
        bench.lane(f"app{a}", f"ep{e}") for a, number in enumerate(endpoints) for e in range(number)
    ]
    for lane in lanes:
        bench.owe(lane, 5)
    flying, done = list[Owed](), Counter[Lane]()

    while flying or any(lane.waiting for lane in lanes):
        flying += bench.pick_all()
        assert len(flying) <= process
        assert max(turns(flying).values()) <= app
        assert max(Counter(one.lane for one in flying).values()) <= endpoint
        landed = flying.pop(chance.randrange(len(flying)))
        bench.land(landed)
        done[landed.lane] += 1

    assert done == dict.fromkeys(lanes, 5)


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


def test_the_next_of_an_ordered_endpoint_goes_when_the_former_is_settled() -> None:
    bench = Bench()
    lane = bench.lane("app", ordered=True)
    bench.owe(lane, 3)

    (first,) = bench.pick_all()
    bench.schedule.landed(first)
    assert bench.pick() is None, "it is not settled"
    bench.lanes.let_go(first)
    bench.schedule.ready(lane)

    assert [owed.message_id for owed in bench.pick_all()] == ["m1"]


def failing(lane: Lane, *, now: float = 0.0) -> Lane:
    while not lane.health.failing:
        lane.health.failed(probe=False, now=now, dice=0.0)
    return lane


def test_a_failing_endpoint_gets_one_probe_at_a_time_with_a_gap_between() -> None:
    bench = Bench()
    lane = failing(bench.lane("app"))
    bench.owe(lane, 100)
    sent: list[float] = []

    for _ in range(6):
        assert bench.pick() is None
        assert bench.go_on()
        (probe,) = bench.pick_all()
        assert probe.probe
        sent.append(bench.now)
        bench.land(probe)
        lane.health.failed(probe=True, now=bench.now, dice=0.0)

    assert sent == [1, 3, 7, 15, 31, 63]


def test_what_is_asked_for_by_hand_is_the_next_probe_and_waits_for_no_gap() -> None:
    bench = Bench()
    lane = failing(bench.lane("app"))
    bench.owe(lane, 3)
    by_hand = Owed(
        lane=lane, message_id="h", event_type="a", payload=b"", content_type="", due_at=DUE
    )

    bench.lanes.add_first(lane, by_hand)
    bench.schedule.ready(lane)

    assert bench.pick_all() == [by_hand]
    bench.land(by_hand)
    assert bench.pick() is None, "it was one"


def test_a_failing_endpoint_keeps_nobody_else_from_sending() -> None:
    bench = Bench(process=1)
    bench.owe(failing(bench.lane("app", "dead")), 1_000)
    bench.owe(bench.lane("app", "live"), 5)
    bench.owe(bench.lane("other"), 5)
    picked = []

    while (owed := bench.pick()) is not None:
        picked.append(owed)
        bench.land(owed)

    assert Counter(owed.lane.endpoint_id for owed in picked) == {"live": 5, "ep": 5}


@given(
    ends=st.lists(st.tuples(st.sampled_from(["ok", "bad", "other"]), st.floats(0, 5)), max_size=60),
    dice=st.floats(0, 1, exclude_max=True),
    ordered=st.booleans(),
)
def test_whatever_becomes_of_attempts_probes_go_alone_on_time_and_all_is_sent_in_the_end(
    *, ends: list[tuple[str, float]], dice: float, ordered: bool
) -> None:
    bench = Bench(endpoint=4)
    lane, number = bench.lane("app", ordered=ordered), 80
    bench.owe(lane, number)
    flying, sent, left = list[Owed](), 0, iter(ends)
    while sent < number:
        probing, not_before = lane.health.failing, lane.health.probe_at
        began = bench.pick_all()
        flying, sent = flying + began, sent + len(began)
        assert not (probing and began) or (len(flying) == 1 and bench.now >= not_before)
        assert len(flying) <= (1 if ordered else 4)
        if not flying:
            assert bench.go_on(), "some timer brings it back"
            continue
        end, takes_s = next(left, ("ok", 0.1))
        bench.now += takes_s
        landed = flying.pop(0)
        bench.schedule.landed(landed)
        if end == "bad":
            lane.health.failed(probe=landed.probe, now=bench.now, dice=dice)
        elif end == "ok":
            lane.health.succeeded()
        else:
            lane.health.answered()
        bench.lanes.let_go(landed)
        bench.schedule.ready(lane)
        bench.schedule.due(bench.now)

    assert sent == number


def test_who_waits_for_a_send_to_leave_is_told_and_asks_nothing_meanwhile() -> None:
    bench = Bench()
    lane, other = bench.lane("app", rate=1, app_rate=2), bench.lane("app", "other", app_rate=2)
    bench.owe(lane, 2)
    bench.owe(other, 2)
    first, second = bench.schedule.pick(0.0), bench.schedule.pick(0.0)
    assert first is not None
    assert second is not None
    assert bench.pick() is None
    assert bench.schedule.next_timer() is None

    assert bench.schedule.left(first, 3.0)
    assert bench.pick() is None

    assert bench.schedule.next_timer() == 3.0 + WINDOW_S
    bench.go_on()
    assert len(bench.pick_all()) == 1
    assert bench.schedule.left(second, 3.0), "the app waits for it now"


def test_what_never_left_holds_nobody_back_when_its_attempt_has_ended() -> None:
    bench = Bench()
    lane = bench.lane("app", rate=1, app_rate=1)
    bench.owe(lane, 2)
    first = bench.schedule.pick(0.0)
    assert first is not None
    assert bench.pick() is None

    bench.land(first)
    assert bench.pick() is None
    bench.go_on()

    assert (bench.now, len(bench.pick_all())) == (WINDOW_S, 1)


def test_a_higher_rate_counts_at_once_for_what_waits() -> None:
    bench = Bench()
    lane = bench.lane("app", rate=1)
    bench.owe(lane, 50)
    assert len(bench.pick_all()) == 1
    assert bench.pick() is None

    bench.now = 0.5
    bench.set_rate(lane, 20)

    assert bench.pick() is None, "a send of the last second counts"
    bench.go_on()
    assert (bench.now, len(bench.pick_all())) == (WINDOW_S, 20)


def test_a_limit_that_is_lifted_holds_nothing_back() -> None:
    bench = Bench()
    lane = bench.lane("app", rate=1)
    bench.owe(lane, 50)
    assert len(bench.pick_all()) == 1
    assert bench.pick() is None

    bench.set_rate(lane, None)

    assert len(bench.pick_all()) == 49


def test_who_waits_for_a_slot_has_one_timer_however_often_something_is_added() -> None:
    bench = Bench()
    lane = bench.lane("app", rate=1)
    bench.owe(lane, 2)
    bench.pick_all()

    for _ in range(100):
        bench.owe(lane, 1)
        assert bench.pick() is None

    assert len(bench.schedule._timers) == 1
