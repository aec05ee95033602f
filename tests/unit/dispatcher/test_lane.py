"""Lanes are bounded in count and bytes, hold nothing twice, and let live go before backlog."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.health import HealthLimits
from dispatcher.lane import NEVER, Lane, Owed
from dispatcher.lanes import HANDFUL, Lanes
from dispatcher.match import Target, Tenant
from dispatcher.pace import WINDOW_S, Send
from schema.delivery import Reason
from schema.endpoint import EndpointState
from tests.targets import TARGET

NOW = datetime(2026, 5, 6, tzinfo=UTC)
DEPTH, BYTES, CAP = 4, 100, 8


def tenant(*targets: Target, rate: int | None = None) -> Tenant:
    made = Tenant(id="app", environment_id="org", shard=0, throttle_rate=rate)
    made.targets.update({target.id: target for target in targets or (TARGET,)})
    return made


@pytest.fixture
def lanes() -> Lanes:
    made = Lanes(depth=DEPTH, held_bytes=BYTES, health=HealthLimits(most_in_flight=CAP))
    made.open_shard(0, now=0.0)
    return made


def lane_of(lanes: Lanes, of: Tenant | None = None, endpoint_id: str = "ep") -> Lane:
    return lanes.open_lane(of or tenant(), 0, "app", endpoint_id, now=0.0)


def owed(lane: Lane, name: str, payload: bytes = b"{}") -> Owed:
    return Owed(
        lane=lane,
        message_id=name,
        event_type="a",
        payload=payload,
        content_type="application/json",
        due_at=NOW,
    )


def test_a_lane_takes_no_more_live_deliveries_than_its_depth(lanes: Lanes) -> None:
    lane = lane_of(lanes)

    taken = [lanes.offer(lane, owed(lane, f"m{n}")) for n in range(DEPTH + 2)]

    assert taken == [True] * DEPTH + [False] * 2
    assert lane.waiting == DEPTH


def test_all_lanes_together_take_no_more_bytes_than_they_may(lanes: Lanes) -> None:
    lane, other = lane_of(lanes), lane_of(lanes, endpoint_id="ep2")
    assert lanes.offer(lane, owed(lane, "m1", b"x" * BYTES))

    assert not lanes.offer(other, owed(other, "m2"))

    assert lanes.room(lane) == 0
    assert lanes.room(other) == 1, "an empty lane always gets on, one at a time"


def test_a_delivery_is_held_once_until_it_is_settled(lanes: Lanes) -> None:
    lane = lane_of(lanes)
    first = owed(lane, "m1")
    assert lanes.offer(lane, first)
    lane.pop()
    assert not lanes.offer(lane, owed(lane, "m1")), "in flight"

    lanes.let_go(first)

    assert (lanes.bytes, lane.bytes, lane.held) == (0, 0, set())
    assert lanes.offer(lane, owed(lane, "m1"))


def test_what_is_let_go_of_during_a_refill_is_remembered_until_its_end(lanes: Lanes) -> None:
    lane = lane_of(lanes)
    delivery = owed(lane, "m1")
    lanes.offer(lane, delivery)
    lane.refilling = True

    lanes.let_go(delivery)

    assert lane.released == {"m1"}


def test_live_goes_before_backlog_but_backlog_does_not_starve(lanes: Lanes) -> None:
    lane = lane_of(lanes)
    for n in range(DEPTH):
        lanes.add_backlog(lane, owed(lane, f"backlog{n}"))
        lanes.offer(lane, owed(lane, f"live{n}"))

    order = [lane.pop().message_id for _ in range(2 * DEPTH)]

    assert order == [
        *("live0", "live1", "live2", "backlog0"),
        *("live3", "backlog1", "backlog2", "backlog3"),
    ]


def test_new_deliveries_of_a_paused_endpoint_are_postgres_s(lanes: Lanes) -> None:
    lane = lane_of(lanes, tenant(replace(TARGET, state=EndpointState.PAUSED)))

    assert not lanes.offer(lane, owed(lane, "m1"))
    assert lanes.room(lane) == 0


@given(
    st.lists(st.sampled_from(["live", "backlog", "by hand", "pop"]), max_size=80), st.integers(1, 9)
)
def test_of_four_deliveries_three_are_live_while_there_are_both_and_none_is_lost(
    steps: list[str], depth: int
) -> None:
    lanes = Lanes(depth=depth, held_bytes=1 << 30, health=HealthLimits())
    lanes.open_shard(0, now=0.0)
    lane = lane_of(lanes)
    given_out, put = list[str](), list[str]()
    streak: list[str] = []
    for n, step in enumerate(steps):
        delivery = owed(lane, f"{step} {n}")
        if step == "live" and lanes.offer(lane, delivery):
            put.append(delivery.message_id)
        elif step == "backlog" and lanes.room(lane):
            lanes.add_backlog(lane, delivery)
            put.append(delivery.message_id)
        elif step == "by hand":
            lanes.add_first(lane, delivery)
            put.append(delivery.message_id)
        elif step == "pop" and lane.waiting:
            both, urgent = bool(lane.live and lane.backlog), bool(lane.urgent)
            name = lane.pop().message_id
            given_out.append(name)
            assert name.startswith("by hand") is urgent
            streak = [*streak, name] if both and not urgent else streak if urgent else []
            if len(streak) >= 4:
                assert [one.startswith("backlog") for one in streak[-4:]].count(True) == 1
        assert lane.waiting == len(lane.live) + len(lane.backlog)

    while lane.waiting:
        given_out.append(lane.pop().message_id)
    assert sorted(given_out) == sorted(put)
    assert [n for n in given_out if n.startswith("live")] == [n for n in put if n[0] == "l"]


ORDERED = replace(TARGET, ordered=True)


def test_an_ordered_lane_holds_one_queue_and_takes_nothing_while_postgres_has_more(
    lanes: Lanes,
) -> None:
    lane = lane_of(lanes, tenant(ORDERED))
    lanes.add_backlog(lane, owed(lane, "m0"))
    assert lanes.offer(lane, owed(lane, "m1"))
    lane.look_at = 5.0

    assert not lanes.offer(lane, owed(lane, "m2"))

    lane.look_at, lane.refilling = NEVER, True
    assert not lanes.offer(lane, owed(lane, "m2"))
    assert [lane.pop().message_id for _ in range(2)] == ["m0", "m1"]


def test_an_ordered_lane_is_read_only_when_it_holds_nothing(lanes: Lanes) -> None:
    lane = lane_of(lanes, tenant(ORDERED))
    first = owed(lane, "m1")
    assert lanes.is_low(lane)
    lanes.offer(lane, first)
    lane.pop()
    assert not lanes.is_low(lane), "it is not settled"

    lanes.let_go(first)

    assert lanes.is_low(lane)


@pytest.mark.parametrize(
    "target", [ORDERED, replace(TARGET, state=EndpointState.PAUSED)], ids=["ordered", "paused"]
)
def test_what_waits_goes_back_to_postgres_when_its_endpoint_is_ordered_or_paused(
    lanes: Lanes, target: Target
) -> None:
    lane = lane_of(lanes)
    for n in range(3):
        lanes.offer(lane, owed(lane, f"live{n}"))
        lanes.add_backlog(lane, owed(lane, f"backlog{n}"))
    flying = lane.pop()

    lanes.retarget(lane, tenant(target), now=0.0)

    assert (lane.waiting, lane.held, lanes.bytes) == (0, {flying.message_id}, flying.size)


def test_a_lane_that_gives_back_keeps_the_first_of_each_queue(lanes: Lanes) -> None:
    lane = lane_of(lanes)
    for n in range(DEPTH):
        lanes.offer(lane, owed(lane, f"live{n}"))
        lanes.add_backlog(lane, owed(lane, f"backlog{n}"))

    assert lanes.spill(lane, keep=1)

    assert lane.held == {"live0", "backlog0"}
    assert (lane.waiting, lanes.bytes) == (2, 4)
    assert not lanes.spill(lane, keep=1)


def test_a_lane_of_a_failing_endpoint_holds_a_handful() -> None:
    lanes = Lanes(depth=1_000, held_bytes=1 << 30, health=HealthLimits(failing_after=1))
    lanes.open_shard(0, now=0.0)
    lane = lane_of(lanes)
    lane.health.failed(probe=False, now=0.0, dice=0.0)

    taken = [lanes.offer(lane, owed(lane, f"m{n}")) for n in range(20)]

    assert taken.count(True) == lanes.room(lane) == HANDFUL


@pytest.mark.parametrize(
    "changed", [{"url_text": "http://elsewhere/"}, {"state": EndpointState.PAUSED}]
)
def test_an_endpoint_that_is_changed_by_hand_is_tried_again_at_once(
    lanes: Lanes, changed: dict[str, Any]
) -> None:
    lane = lane_of(lanes)
    for _ in range(10):
        lane.health.failed(probe=False, now=0.0, dice=0.0)
    lanes.failing.add(lane)
    lanes.retarget(lane, tenant(replace(TARGET, channels=frozenset({"a"}))), now=0.0)
    assert lane.health.failing, "what is sent there does not change how it does"

    lanes.retarget(lane, tenant(replace(TARGET, **changed)), now=0.0)

    assert (lane.health.failing, lane.health.cap, lanes.failing) == (False, 1, set())


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (tenant(), None),
        (tenant(replace(TARGET, state=EndpointState.PAUSED)), None),
        (tenant(replace(TARGET, state=EndpointState.DISABLED)), Reason.ENDPOINT_DISABLED),
        (tenant(replace(TARGET, id="other")), Reason.ENDPOINT_DELETED),
        (None, Reason.ENDPOINT_DELETED),
    ],
)
def test_a_lane_knows_why_what_it_is_owed_is_to_be_given_up(
    lanes: Lanes, known: Tenant | None, reason: Reason | None
) -> None:
    assert lanes.open_lane(known, 0, "app", "ep", now=0.0).doomed == reason


def test_a_closed_shard_holds_nothing_any_more(lanes: Lanes) -> None:
    lane = lane_of(lanes)
    lanes.offer(lane, owed(lane, "m1"))
    flying = lane.pop()
    lanes.offer(lane, owed(lane, "m2"))
    lane.look_at = 5.0

    assert lanes.close_shard(0) == [lane]

    assert (len(lanes), lanes.owns(0), lane.waiting, lane.look_at) == (0, False, 0, NEVER)
    assert lane.held == {"m1"}
    lanes.let_go(flying)
    assert lanes.bytes == 0


def test_a_lane_that_is_opened_after_a_take_over_waits_for_what_the_former_owner_sent(
    lanes: Lanes,
) -> None:
    lanes.open_shard(1, now=100.0)
    limited = tenant(replace(TARGET, throttle_rate=3), rate=7)

    lane = lanes.open_lane(limited, 1, "app", "ep", now=100.0)

    assert lane.pace is not None
    assert lane.app.pace is not None
    assert lane.pace.slot() == lane.app.pace.slot() == 100.0 + WINDOW_S


def test_a_change_of_target_keeps_what_was_sent_and_a_new_limit_counts_from_now(
    lanes: Lanes,
) -> None:
    lane = lane_of(lanes, tenant(replace(TARGET, throttle_rate=1)))
    assert lane.pace is not None
    send = Send(50.0)
    send.left(50.0)
    lane.pace.take(send)

    lanes.retarget(lane, tenant(replace(TARGET, throttle_rate=1), rate=2), now=60.0)

    assert lane.pace.slot() == 50.0 + WINDOW_S
    assert lane.app.pace is not None
    assert lane.app.pace.slot() == 60.0 + WINDOW_S


def test_only_lanes_that_are_idle_for_long_are_swept(lanes: Lanes) -> None:
    idle, busy, waiting = (lane_of(lanes, endpoint_id=name) for name in ("ep1", "ep2", "ep3"))
    lanes.offer(busy, owed(busy, "m1"))
    waiting.look_at = 1_000.0

    lanes.sweep(now=10.0, idle_s=60.0)
    assert len(lanes) == 3
    lanes.sweep(now=61.0, idle_s=60.0)

    assert list(lanes) == [busy, waiting]
    assert lanes.get("app", idle.endpoint_id) is None
