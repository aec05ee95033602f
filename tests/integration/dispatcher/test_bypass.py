"""Apps of a crowded shard are read past the crowd; nothing depends on it, and nothing is twice."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.aio.client import Client

from dispatcher.bypass import Bypasses
from dispatcher.source import CROWDED
from schema.event import STREAM
from schema.store import intake
from schema.store.link import Pool
from tests.dispatching import Running, World, dispatching, eventually, new_world, publish
from tests.receiver import Receiver
from tests.services import Services

CROWD = 3 * CROWDED  # events in front of those that pass
FEW = 5


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await new_world(pool)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as listening:
        yield listening


async def publish_crowd(bus: Client, app_id: str, number: int = CROWD) -> None:
    await asyncio.gather(*(publish(bus, app_id, body=b'"crowd %d"' % n) for n in range(number)))


async def numbers(world: World, app_id: str) -> list[int]:
    """Give the bodies of an app's messages in the order in which they became rows."""
    rows = await world.pool.fetch(
        "SELECT payload FROM message WHERE app_id = $1 ORDER BY xmin::text::bigint, id", app_id
    )
    return [json.loads(row["payload"]) for row in rows]


class Gate:
    """Holds a dispatcher's statements that move positions up, at the first one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = asyncio.Event()
        take = intake.take

        async def held(
            link: object, owner: str, positions: dict[int, intake.Position], taking: intake.Taking
        ) -> intake.Answer:
            if not any(position.beside for position in positions.values()):
                await self._open.wait()
            return await take(link, owner, positions, taking)  # type: ignore[arg-type]

        monkeypatch.setattr(intake, "take", held)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def neighbours(world: World, receiver: Receiver, shard: int = 3) -> tuple[str, str]:
    """Make two apps of a shard: one that crowds it, and one with an endpoint."""
    crowd, victim = await world.app(shard=shard), await world.app(shard=shard)
    await world.endpoint(victim, receiver.url("/victim"), ordered=True)
    return crowd, victim


@pytest.mark.usefixtures("stream")
async def test_an_app_is_served_while_not_one_event_of_the_crowd_before_it_is_taken(
    world: World, receiver: Receiver, services: Services, bus: Client, gate: Gate
) -> None:
    crowd, victim = await neighbours(world, receiver)
    await publish_crowd(bus, crowd)
    for n in range(FEW):
        await publish(bus, victim, body=b"%d" % n)

    async with dispatching(world.pool, services.nats_url) as running:
        received = await receiver.wait_for(FEW)
        taken_before = await world.pool.fetchval(
            "SELECT count(*) FROM message WHERE app_id = $1", crowd
        )
        metrics = running.dispatcher._given.metrics
        bypassed, crowded = metrics.bypassed._value.get(), metrics.crowded._value.get()
        gate.open()
        await taken(world, CROWD + FEW)
        await passed_and_ended(running)

    assert [json.loads(request.body) for request in received] == list(range(FEW))
    assert (taken_before, bypassed, crowded) == (0, FEW, 1)
    assert len(receiver.requests) == FEW
    assert await world.states() == {"delivered": FEW}
    assert metrics.taken.labels("repeated")._value.get() == 0


async def taken(world: World, messages: int) -> None:
    async def enough() -> bool:
        number: int = await world.pool.fetchval("SELECT count(*) FROM message")
        return number >= messages

    await eventually(enough, within_s=15)


async def passed_and_ended(running: Running) -> None:
    """Wait until the stream is taken to its end, and no shard has a bypass any more."""
    bypasses: Bypasses = running.dispatcher._feed._bypasses
    source = running.dispatcher._feed.sources[3]
    info = await running.bus.jetstream().stream_info(STREAM)
    await eventually(lambda: source.position == info.state.last_seq)
    await eventually(lambda: not bypasses.by_shard)


@pytest.mark.usefixtures("stream")
async def test_a_shard_counts_each_event_once_although_it_comes_twice(
    world: World, receiver: Receiver, services: Services, bus: Client, gate: Gate
) -> None:
    crowd, victim = await neighbours(world, receiver)
    await publish_crowd(bus, crowd)
    for n in range(FEW):
        await publish(bus, victim, body=b"%d" % n)
    last = await publish(bus, crowd)

    async with dispatching(world.pool, services.nats_url) as running:
        await receiver.wait_for(FEW)
        gate.open()
        await taken(world, CROWD + FEW + 1)
        await passed_and_ended(running)

    row = await world.pool.fetchrow("SELECT position, taken FROM shard WHERE id = 3")
    assert row is not None
    assert tuple(row) == (last, CROWD + FEW + 1)
    counted = await world.pool.fetchval("SELECT sum(n) FROM fanned_out, unnest(numbers) AS n")
    assert counted == FEW


@pytest.mark.usefixtures("stream")
async def test_what_is_rejected_beside_a_crowd_is_rejected_once(
    world: World, receiver: Receiver, services: Services, bus: Client, gate: Gate
) -> None:
    crowd, victim = await neighbours(world, receiver)
    await publish_crowd(bus, crowd)
    await publish(bus, victim, body=b"not json")
    await publish(bus, victim, body=b"1")

    async with dispatching(world.pool, services.nats_url) as running:
        await receiver.wait_for(1)
        gate.open()
        await taken(world, CROWD + 1)
        await passed_and_ended(running)
        counted = running.dispatcher._given.metrics.taken.labels("rejected")._value.get()

    assert [row["reason"] for row in await world.rejected(1)] == ["not_json"]
    assert counted == 1


@pytest.mark.usefixtures("stream")
async def test_what_postgres_forgot_of_a_bypass_is_stored_and_sent_by_the_shards_own_source(
    world: World, receiver: Receiver, services: Services, bus: Client, gate: Gate
) -> None:
    crowd, victim = await neighbours(world, receiver)
    await publish_crowd(bus, crowd)
    for n in range(FEW):
        await publish(bus, victim, body=b"%d" % n)

    async with dispatching(world.pool, services.nats_url) as running:
        await receiver.wait_for(FEW)
        await world.settled(FEW)
        for table in ("attempt", "delivery", "message"):
            await world.pool.execute(f"DELETE FROM {table} WHERE app_id = $1", victim)
        gate.open()
        await receiver.wait_for(2 * FEW)
        await taken(world, CROWD + FEW)
        await passed_and_ended(running)
        states = await world.settled(FEW)

    assert states == {"delivered": FEW}
    assert sorted(await numbers(world, victim)) == list(range(FEW))


@pytest.mark.usefixtures("stream")
async def test_a_dispatcher_that_dies_beside_a_crowd_leaves_nothing_out_and_nothing_twice(
    world: World, receiver: Receiver, services: Services, bus: Client, gate: Gate
) -> None:
    crowd, victim = await neighbours(world, receiver)
    await publish_crowd(bus, crowd)
    for n in range(FEW):
        await publish(bus, victim, body=b"%d" % n)

    async with dispatching(world.pool, services.nats_url) as dying:
        await receiver.wait_for(FEW)
        await world.settled(FEW)
        await dying.die()
    gate.open()
    async with dispatching(world.pool, services.nats_url) as running:
        await publish(bus, victim, body=b"%d" % FEW)
        await receiver.wait_for(FEW + 1)
        await taken(world, CROWD + FEW + 1)
        await passed_and_ended(running)

    assert [json.loads(r.body) for r in receiver.requests] == list(range(FEW + 1))
    assert await world.states() == {"delivered": FEW + 1}


@pytest.mark.usefixtures("stream")
async def test_an_app_that_publishes_first_while_its_shard_is_crowded_is_read_past_it_too(
    world: World, receiver: Receiver, services: Services, bus: Client, gate: Gate
) -> None:
    crowd, victim = await neighbours(world, receiver)
    await publish_crowd(bus, crowd)
    await publish(bus, victim, body=b"1")

    async with dispatching(world.pool, services.nats_url) as running:
        await receiver.wait_for(1)
        late = await world.app(shard=3, uid=None)
        await world.endpoint(late, receiver.url("/late"))
        await publish(bus, late, body=b"2")
        await receiver.wait_for(2)
        gate.open()
        await taken(world, CROWD + 2)
        await passed_and_ended(running)

    assert await world.states() == {"delivered": 2}
