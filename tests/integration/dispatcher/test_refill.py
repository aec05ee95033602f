"""What is due comes back from Postgres in order, when there is room for it, and never twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from dispatcher.health import HealthLimits
from dispatcher.lane import NEVER, Lane, Owed
from dispatcher.lanes import Lanes
from dispatcher.match import Directory
from dispatcher.refill import Refill
from schema import ids
from schema.delivery import Reason
from schema.store.link import Pool
from tests.dispatching import VAULT, World, config, eventually, new_world, now, waits_for_lock
from tests.services import SHARDS, Services

URL = "http://127.0.0.1:9/"
DEPTH = 8


def live(lane: Lane, message_id: str, due_at: datetime) -> Owed:
    """Give a delivery as it is offered when its event has just been taken in."""
    return Owed(
        lane=lane,
        message_id=message_id,
        event_type="a.b",
        payload=b"{}",
        content_type="application/json",
        due_at=due_at,
        placed=lane.ordered,
    )


class Desk:
    """Lanes and what refills them, with nobody who sends."""

    def __init__(self, world: World, *, held_bytes: int = 1 << 30) -> None:
        limits = config(lane_depth=DEPTH, held_bytes=held_bytes)
        self.world = world
        self.lanes = Lanes(depth=DEPTH, held_bytes=held_bytes, health=HealthLimits())
        self.directory = Directory(pool=world.pool, vault=VAULT, config=limits, shards=SHARDS)
        self.refilled: list[Lane] = []
        self.refill = Refill(
            pool=world.pool,
            lanes=self.lanes,
            clock=now,
            config=limits,
            on_refilled=self.refilled.append,
        )
        for shard in range(SHARDS):
            self.lanes.open_shard(shard, now=0.0)

    async def lane(self, app_id: str, endpoint_id: str) -> Lane:
        tenant = (await self.directory.load([app_id], now())).get(app_id)
        shard = ids.shard_of(app_id, SHARDS)
        return self.lanes.open_lane(tenant, shard, app_id, endpoint_id, now=0.0)

    async def owing(self, number: int, *, state: str = "active") -> tuple[Lane, list[str]]:
        """Make the lane of a new endpoint that is owed so many messages."""
        app_id = await self.world.app()
        endpoint_id = await self.world.endpoint(app_id, URL, state=state)
        messages = await self.world.owe(app_id, endpoint_id, number)
        return await self.lane(app_id, endpoint_id), messages

    def look(self, *lanes: Lane) -> None:
        for lane in lanes:
            self.refill.look(lane, asyncio.get_running_loop().time())

    async def deliver(self, lane: Lane) -> str:
        """Deliver one, as far as the refill sees it; give its message's id."""
        owed = lane.pop()
        await self.world.pool.execute(
            "UPDATE delivery SET state = 'delivered', due_at = NULL WHERE message_id = $1",
            owed.message_id,
        )
        self.lanes.let_go(owed)
        self.refill.drained(lane)
        return owed.message_id


@pytest_asyncio.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    made = Desk(await new_world(pool))
    task = asyncio.create_task(made.refill.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def due_in(pool: Pool, message_id: str, seconds: float) -> None:
    at = now() + timedelta(seconds=seconds)
    await pool.execute("UPDATE delivery SET due_at = $2 WHERE message_id = $1", message_id, at)


async def test_what_is_due_comes_in_the_order_in_which_it_is_due(desk: Desk, pool: Pool) -> None:
    lane, messages = await desk.owing(5)
    for n, message_id in enumerate(messages):
        await due_in(pool, message_id, -n)

    desk.look(lane)
    await eventually(lambda: lane.waiting == 5)

    assert [owed.message_id for owed in lane.backlog] == messages[::-1]
    assert {owed.payload for owed in lane.backlog} == {b'{"hello": "world"}'}


async def test_a_lane_takes_what_it_has_room_for_and_the_rest_as_it_empties(desk: Desk) -> None:
    lane, messages = await desk.owing(5 * DEPTH)
    desk.look(lane)
    taken = []

    while len(taken) < len(messages):
        await eventually(lambda: lane.waiting > 0)
        assert len(lane.backlog) <= DEPTH
        taken.append(await desk.deliver(lane))

    assert sorted(taken) == sorted(messages)
    await eventually(lambda: lane.look_at == NEVER)


async def test_many_lanes_are_read_together(desk: Desk) -> None:
    lanes = [(await desk.owing(3))[0] for _ in range(20)]

    desk.look(*lanes)
    await eventually(lambda: len(desk.refilled) == 20)

    assert [lane.waiting for lane in lanes] == [3] * 20


async def test_nothing_comes_before_it_is_due_and_it_comes_then_without_asking(
    desk: Desk, pool: Pool
) -> None:
    lane, (first, second) = await desk.owing(2)
    await due_in(pool, second, 0.4)
    due_at = (await desk.world.delivery(second))["due_at"]

    desk.look(lane)
    await eventually(lambda: lane.waiting == 1)
    assert [owed.message_id for owed in lane.backlog] == [first]
    await eventually(lambda: lane.waiting == 2)

    assert now() >= due_at
    assert now() - due_at < timedelta(seconds=0.25)


async def test_what_is_held_does_not_come_again(desk: Desk) -> None:
    lane, messages = await desk.owing(4)
    desk.look(lane)
    await eventually(lambda: lane.waiting == 4)
    flying = lane.pop()

    desk.refilled.clear()
    desk.look(lane)
    await eventually(lambda: bool(desk.refilled))

    assert sorted([flying.message_id, *(o.message_id for o in lane.backlog)]) == sorted(messages)


async def test_what_was_settled_while_it_was_read_does_not_come_again(
    desk: Desk, pool: Pool
) -> None:
    """Payloads are waited for; meanwhile an attempt ends whose row was read as owed."""
    lane, (first, second) = await desk.owing(2)
    row = await desk.world.delivery(first)
    async with pool.acquire() as link:
        async with link.transaction():
            await link.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
            desk.look(lane)
            await eventually(lambda: waits_for_lock(pool))
            assert desk.lanes.offer(lane, live(lane, first, row["due_at"]))
            desk.lanes.let_go(lane.pop())
        await eventually(lambda: bool(desk.refilled))

    assert [owed.message_id for owed in lane.backlog] == [second]
    assert lane.released == set()


@pytest.mark.parametrize("gone", ["DELETE FROM message", "UPDATE message SET payload = NULL"])
async def test_what_has_no_payload_any_more_is_to_be_given_up(
    desk: Desk, pool: Pool, gone: str
) -> None:
    lane, _ = await desk.owing(1)
    await pool.execute(gone)

    desk.look(lane)
    await eventually(lambda: lane.waiting == 1)

    assert lane.pop().reason == Reason.EXPIRED


async def test_a_paused_lane_is_read_when_it_goes_on(desk: Desk) -> None:
    lane, _ = await desk.owing(3, state="paused")
    desk.look(lane)
    other, _ = await desk.owing(1)
    desk.look(other)
    await eventually(lambda: other.waiting == 1)
    assert lane.waiting == 0

    await desk.world.set_state(lane.endpoint_id, "active")
    tenant = (await desk.directory.load([lane.app_id], now()))[lane.app_id]
    desk.lanes.retarget(lane, tenant, now=0.0)
    desk.refill.drained(lane)

    await eventually(lambda: lane.waiting == 3)


async def test_a_doomed_lane_does_not_wait_for_what_is_due_later(desk: Desk, pool: Pool) -> None:
    app_id = await desk.world.app()
    endpoint_id = await desk.world.endpoint(app_id, URL)
    (message_id,) = await desk.world.owe(app_id, endpoint_id)
    await due_in(pool, message_id, 3_600)
    await pool.execute("UPDATE endpoint SET deleted_at = now()")

    desk.look(lane := await desk.lane(app_id, endpoint_id))

    await eventually(lambda: lane.waiting == 1)


async def test_lanes_of_large_messages_get_one_at_a_time_when_memory_is_full(pool: Pool) -> None:
    desk = Desk(await new_world(pool), held_bytes=50_000)
    task = asyncio.create_task(desk.refill.run())
    lanes = []
    for _ in range(4):
        app_id = await desk.world.app()
        endpoint_id = await desk.world.endpoint(app_id, URL)
        await desk.world.owe(app_id, endpoint_id, 5, body=b'"%b"' % (b"x" * 20_000))
        lanes.append(await desk.lane(app_id, endpoint_id))
    desk.look(lanes[0])
    await eventually(lambda: lanes[0].waiting == 5)

    desk.look(*lanes[1:])
    await eventually(lambda: len(desk.refilled) == 4)

    assert [lane.waiting for lane in lanes] == [5, 1, 1, 1]
    for _ in range(20):
        await eventually(lambda: any(lane.waiting for lane in lanes))
        await desk.deliver(next(lane for lane in lanes if lane.waiting))
    task.cancel()
    await asyncio.wait([task])
    assert desk.lanes.bytes == 0
    assert await desk.world.states() == {"delivered": 20}


async def test_a_refill_is_tried_again_when_postgres_is_back(
    desk: Desk, services: Services
) -> None:
    lane, _ = await desk.owing(3)
    await services.postgres.kill()
    desk.look(lane)
    await asyncio.sleep(0)

    await services.postgres.start()

    await eventually(lambda: lane.waiting == 3)


async def test_a_lane_that_was_closed_meanwhile_gets_nothing(desk: Desk, pool: Pool) -> None:
    lane, _ = await desk.owing(2)
    async with pool.acquire() as link:
        async with link.transaction():
            await link.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
            desk.look(lane)
            await eventually(lambda: waits_for_lock(pool))
            desk.lanes.close_shard(lane.shard)
        await eventually(lambda: bool(desk.refilled))

    assert (lane.waiting, desk.lanes.bytes) == (0, 0)


class Traffic:
    """What may happen to a lane: accepted, sent, given back, failing, mended, woken; at random."""

    def __init__(self, desk: Desk, lane: Lane, chance: random.Random) -> None:
        self.accepted: list[str] = []
        self.taken: list[str] = []
        self._desk = desk
        self._lane = lane
        self._chance = chance

    async def happen(self) -> None:
        often = (self._accept, self._send)
        seldom = (self._give_back, self._fail, self._mend, self._wake)
        await self._chance.choice([*often, *often, *seldom])()
        await asyncio.sleep(self._chance.choice([0, 0.002]))

    async def _accept(self) -> None:
        """Store some as the intake does, then offer them as the service does."""
        lane, number = self._lane, self._chance.randint(1, 5)
        place = len(self.accepted) if lane.ordered else None
        made = await self._desk.world.owe(lane.app_id, lane.endpoint_id, number, place=place)
        self.accepted += made
        for message_id in made:
            owed = live(lane, message_id, now())
            if not self._desk.lanes.offer(lane, owed) and message_id not in lane.held:
                self._desk.look(lane)

    async def _send(self) -> None:
        for _ in range(min(self._chance.randint(1, 2 * DEPTH), self._lane.waiting)):
            self.taken.append(await self._desk.deliver(self._lane))

    async def _give_back(self) -> None:
        if self._desk.lanes.spill(self._lane, keep=self._chance.randint(0, 3)):
            self._desk.look(self._lane)

    async def _fail(self) -> None:
        self._lane.health.failed(probe=False, now=0.0, dice=0.0)

    async def _mend(self) -> None:
        self._lane.health.mended()

    async def _wake(self) -> None:
        self._desk.refill.look_by_hand(self._lane)


@pytest.mark.parametrize("ordered", [False, True], ids=["unordered", "ordered"])
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_offered_is_held_or_found_again_and_comes_once(
    desk: Desk,
    seed: int,
    ordered: bool,  # noqa: FBT001
) -> None:
    app_id = await desk.world.app()
    endpoint_id = await desk.world.endpoint(app_id, URL, ordered=ordered)
    lane = await desk.lane(app_id, endpoint_id)
    traffic = Traffic(desk, lane, random.Random(seed))

    for _ in range(80):
        await traffic.happen()
    while len(traffic.taken) < len(traffic.accepted):
        await eventually(lambda: lane.waiting > 0)
        traffic.taken.append(await desk.deliver(lane))

    assert sorted(traffic.taken) == sorted(traffic.accepted)
    assert not ordered or traffic.taken == traffic.accepted
    assert desk.lanes.bytes == 0


async def test_times_that_count_no_more_are_thrown_out(desk: Desk) -> None:
    lane, _ = await desk.owing(1)
    later = asyncio.get_running_loop().time() + 600
    for n in range(10_000):
        lane.look_at = NEVER  # as when it is read
        desk.refill.look(lane, later + n)

    assert len(desk.refill._heap) < 2_000
    desk.look(lane)
    await eventually(lambda: lane.waiting == 1)


async def test_what_was_asked_for_by_hand_comes_first_however_much_is_due(
    desk: Desk, pool: Pool
) -> None:
    lane, messages = await desk.owing(10 * DEPTH)
    desk.look(lane)
    await eventually(lambda: lane.waiting == DEPTH)
    chosen = next(m for m in reversed(messages) if m not in lane.held)
    await pool.execute("UPDATE delivery SET manual = true WHERE message_id = $1", chosen)

    desk.refill.look_by_hand(lane)
    await eventually(lambda: lane.urgent == 1)

    assert (lane.pop().message_id, lane.urgent) == (chosen, 0)


async def test_of_an_ordered_lane_comes_what_leads_up_to_the_first_that_is_not_due(
    desk: Desk, pool: Pool
) -> None:
    app_id = await desk.world.app()
    endpoint_id = await desk.world.endpoint(app_id, URL, ordered=True)
    messages = await desk.world.owe(app_id, endpoint_id, 3, place=100)
    messages = await desk.world.owe(app_id, endpoint_id, 2, place=7) + messages
    await due_in(pool, messages[3], 600)

    lane = await desk.lane(app_id, endpoint_id)
    desk.look(lane)
    await eventually(lambda: lane.waiting > 0)

    assert [owed.message_id for owed in lane.backlog] == messages[:3]
    assert lane.blocked
    assert lane.look_at - asyncio.get_running_loop().time() == pytest.approx(600, abs=5)


async def test_an_ordered_lane_that_runs_out_while_it_is_looked_at_by_hand_is_read_on(
    desk: Desk, pool: Pool
) -> None:
    app_id = await desk.world.app()
    endpoint_id = await desk.world.endpoint(app_id, URL, ordered=True)
    (first,) = await desk.world.owe(app_id, endpoint_id, 1, place=1)
    lane = await desk.lane(app_id, endpoint_id)
    desk.look(lane)
    await eventually(lambda: lane.waiting == 1)
    (second,) = await desk.world.owe(app_id, endpoint_id, 1, place=2)
    async with pool.acquire() as link, link.transaction():
        await link.execute("LOCK TABLE delivery IN ACCESS EXCLUSIVE MODE")
        desk.refill.look_by_hand(lane)
        await eventually(lambda: waits_for_lock(pool))

        await link.execute(
            "UPDATE delivery SET state = 'delivered', due_at = NULL WHERE message_id = $1",
            first,
        )
        desk.lanes.let_go(lane.pop())
        desk.refill.drained(lane)

    await eventually(lambda: [owed.message_id for owed in lane.backlog] == [second])
