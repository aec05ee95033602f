"""Lanes are bounded in count and bytes, hold nothing twice, and let live go before backlog."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dispatcher.lane import NEVER, Lane, Lanes, Owed
from dispatcher.match import Target, Tenant
from dispatcher.pace import WINDOW_S, Send
from schema.delivery import Reason
from schema.endpoint import EndpointState
from schema.retry import RetryPolicy

NOW = datetime(2026, 5, 6, tzinfo=UTC)
DEPTH, BYTES, CAP = 4, 100, 8
TARGET = Target(
    app_id="app",
    id="ep",
    shard=0,
    state=EndpointState.ACTIVE,
    url_text="http://receiver/",
    url=None,
    head=b"",
    signer=None,
    event_types=None,
    channels=None,
    retry_policy=RetryPolicy(waits_s=()),
    throttle_rate=None,
    ordered=False,
)


def tenant(*targets: Target, rate: int | None = None) -> Tenant:
    made = Tenant(id="app", environment_id="org", shard=0, throttle_rate=rate)
    made.targets.update({target.id: target for target in targets or (TARGET,)})
    return made


@pytest.fixture
def lanes() -> Lanes:
    made = Lanes(depth=DEPTH, held_bytes=BYTES, most_in_flight=CAP)
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


@pytest.mark.parametrize(
    "target",
    [replace(TARGET, state=EndpointState.PAUSED), replace(TARGET, ordered=True)],
    ids=["paused", "ordered"],
)
def test_new_deliveries_of_a_paused_or_ordered_endpoint_are_postgres_s(
    lanes: Lanes, target: Target
) -> None:
    lane = lane_of(lanes, tenant(target))

    assert not lanes.offer(lane, owed(lane, "m1"))
    assert (lanes.room(lane) == 0) is lane.paused


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
    assert lane.pace.slot(100.0) == lane.app.pace.slot(100.0) == 100.0 + WINDOW_S


def test_a_change_of_target_keeps_what_was_sent_and_a_new_limit_counts_from_now(
    lanes: Lanes,
) -> None:
    lane = lane_of(lanes, tenant(replace(TARGET, throttle_rate=1)))
    assert lane.pace is not None
    send = Send(50.0)
    send.left(50.0)
    lane.pace.take(send)

    lanes.retarget(lane, tenant(replace(TARGET, throttle_rate=1), rate=2), now=60.0)

    assert lane.pace.slot(60.0) == 50.0 + WINDOW_S
    assert lane.app.pace is not None
    assert lane.app.pace.slot(60.0) == 60.0 + WINDOW_S


def test_only_lanes_that_are_idle_for_long_are_swept(lanes: Lanes) -> None:
    idle, busy, waiting = (lane_of(lanes, endpoint_id=name) for name in ("ep1", "ep2", "ep3"))
    lanes.offer(busy, owed(busy, "m1"))
    waiting.look_at = 1_000.0

    lanes.sweep(now=10.0, idle_s=60.0)
    assert len(lanes) == 3
    lanes.sweep(now=61.0, idle_s=60.0)

    assert list(lanes) == [busy, waiting]
    assert lanes.get("app", idle.endpoint_id) is None


def test_the_cap_halves_when_an_endpoint_struggles_and_grows_by_one(lanes: Lanes) -> None:
    lane = lane_of(lanes)
    caps = []
    for _ in range(5):
        lane.struggled()
        caps.append(lane.cap)
    for _ in range(3):
        lane.succeeded(3)
        caps.append(lane.cap)

    assert caps == [4, 2, 1, 1, 1, 2, 3, 3]


def test_an_ordered_endpoint_has_one_in_flight(lanes: Lanes) -> None:
    assert lane_of(lanes, tenant(replace(TARGET, ordered=True))).most_in_flight == 1
