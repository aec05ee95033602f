"""Apps of a crowded shard are read past the crowd; nothing depends on it, and nothing is twice."""

import asyncio
import json
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

import pytest
import pytest_asyncio
from nats.aio.client import Client

from dispatcher.bypass import Bypasses
from dispatcher.match import AppKey, Directory, Tenant
from dispatcher.metrics import Metrics
from dispatcher.source import CROWDED
from schema.event import ENDPOINT, STREAM
from schema.store import intake
from schema.store.link import Link
from tests.dispatching import (
    Running,
    World,
    dispatching,
    eventually,
    publish,
    taken,
    waiting,
)
from tests.receiver import Receiver
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")

SHARD = 3
CROWD = 3 * CROWDED  # events in front of those that pass
FEW = 5


class Gate:
    """Holds a dispatcher's statements that move positions up, at the first one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = asyncio.Event()
        self._late: Link | None = None
        self.left_open = asyncio.Event()
        take = intake.take

        async def held(
            link: Link, owner: str, positions: dict[int, intake.Position], taking: intake.Taking
        ) -> intake.Answer:
            if not any(position.beside for position in positions.values()):
                await self._open.wait()
            elif self._late is not None:
                link, self._late = self._late, None
                await take(link, owner, positions, taking)
                self.left_open.set()
                await asyncio.Event().wait()
            return await take(link, owner, positions, taking)

        monkeypatch.setattr(intake, "take", held)

    def open(self) -> None:
        self._open.set()

    def leave_open(self, link: Link) -> None:
        """Make the next statement beside a crowd on this connection, and never answer."""
        self._late = link


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard with an app that crowds it, and a victim with an ordered endpoint."""

    world: World
    receiver: Receiver
    bus: Client
    nats_url: str
    gate: Gate
    crowd: str
    victim: str
    endpoint: str

    async def publish_crowd(self) -> None:
        bodies = (b'"crowd %d"' % n for n in range(CROWD))
        await asyncio.gather(*(publish(self.bus, self.crowd, body=body) for body in bodies))

    async def publish(self, *numbers: int) -> None:
        """Publish events of the victim."""
        for number in numbers:
            await publish(self.bus, self.victim, body=b"%d" % number)

    def dispatching(self) -> AbstractAsyncContextManager[Running]:
        return dispatching(self.world.pool, self.nats_url)

    async def taken(self, running: Running, messages: int) -> None:
        """Open the gate; wait until the stream is taken to its end, and nothing passes any more."""
        self.gate.open()
        await taken(self.world, messages)
        bypasses: Bypasses = running.dispatcher._feed._bypasses
        source = running.dispatcher._feed.sources[SHARD]
        info = await self.bus.jetstream().stream_info(STREAM)
        await eventually(lambda: source.position == info.state.last_seq)
        await eventually(lambda: not bypasses.by_shard)

    def came(self) -> list[int]:
        """Give the bodies of what was received."""
        return [json.loads(request.body) for request in self.receiver.requests]

    async def messages_of(self, app_id: str) -> list[int]:
        """Give the bodies of an app's messages."""
        rows = await self.world.pool.fetch("SELECT payload FROM message WHERE app_id = $1", app_id)
        return [json.loads(row["payload"]) for row in rows]


@pytest_asyncio.fixture
async def shard(
    world: World,
    receiver: Receiver,
    services: Services,
    bus: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> Shard:
    """Lend a shard; its own source takes nothing until the gate is opened."""
    crowd, victim = await world.app(shard=SHARD), await world.app(shard=SHARD)
    return Shard(
        world=world,
        receiver=receiver,
        bus=bus,
        nats_url=services.nats_url,
        gate=Gate(monkeypatch),
        crowd=crowd,
        victim=victim,
        endpoint=await world.endpoint(victim, receiver.url("/victim"), ordered=True),
    )


@pytest_asyncio.fixture
async def crowded(shard: Shard) -> Shard:
    """Lend a shard with the crowd's events on the stream."""
    await shard.publish_crowd()
    return shard


def metrics_of(running: Running) -> Metrics:
    return running.dispatcher._given.metrics


def taken_as(running: Running, what: str) -> float:
    return metrics_of(running).taken.labels(what)._value.get()


async def test_an_app_is_served_while_not_one_event_of_the_crowd_before_it_is_taken(
    crowded: Shard,
) -> None:
    await crowded.publish(*range(FEW))

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(FEW)
        taken_before = await crowded.messages_of(crowded.crowd)
        metrics = metrics_of(running)
        bypassed, shards = metrics.bypassed._value.get(), metrics.crowded._value.get()
        await crowded.taken(running, CROWD + FEW)

    assert crowded.came() == list(range(FEW))
    assert (taken_before, bypassed, shards) == ([], FEW, 1)
    assert await crowded.world.states() == {"delivered": FEW}
    assert taken_as(running, "repeated") == 0


async def test_a_shard_counts_each_event_once_although_it_comes_twice(crowded: Shard) -> None:
    await crowded.publish(*range(FEW))
    last = await publish(crowded.bus, crowded.crowd)

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(FEW)
        await crowded.taken(running, CROWD + FEW + 1)

    pool = crowded.world.pool
    row = await pool.fetchrow("SELECT position, taken FROM shard WHERE id = $1", SHARD)
    assert row is not None
    assert tuple(row) == (last, CROWD + FEW + 1)
    counted = await pool.fetchval("SELECT sum(n) FROM fanned_out, unnest(numbers) AS n")
    assert counted == FEW


async def test_what_is_rejected_beside_a_crowd_is_rejected_once(crowded: Shard) -> None:
    await publish(crowded.bus, crowded.victim, body=b"not json")
    await crowded.publish(1)

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(1)
        await crowded.taken(running, CROWD + 1)

    assert [row["reason"] for row in await crowded.world.rejected(1)] == ["not_json"]
    assert taken_as(running, "rejected") == 1


async def test_what_is_rejected_beside_a_crowd_while_it_is_read_in_the_crowd_is_no_message(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shard.world.pool.execute(
        """INSERT INTO event_type (environment_id, name, schemas, schema_mode, created_at,
                                   updated_at)
           VALUES ($1, 'odd', $2, 'reject', now(), now())""",
        shard.world.environment_id,
        {"1": {"type": "object"}},
    )
    go_on, find = asyncio.Event(), Directory.find

    async def held(
        directory: Directory, keys: AbstractSet[AppKey], now: datetime
    ) -> dict[AppKey, Tenant]:
        if (None, shard.crowd) in keys:
            await go_on.wait()
        return await find(directory, keys, now)

    monkeypatch.setattr(Directory, "find", held)
    await publish(shard.bus, shard.victim, "odd", body=b"1")
    await shard.publish_crowd()

    async with shard.dispatching() as running:
        await shard.world.rejected(1)
        go_on.set()
        await shard.taken(running, CROWD)

    assert await shard.messages_of(shard.victim) == []
    assert [row["reason"] for row in await shard.world.rejected(1)] == ["schema_mismatch"]
    assert taken_as(running, "rejected") == 1


async def test_what_was_read_past_a_crowd_is_not_rejected_behind_it_as_its_endpoint_is_gone(
    crowded: Shard,
) -> None:
    await publish(crowded.bus, crowded.victim, headers={ENDPOINT: crowded.endpoint})

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(1)
        await crowded.world.settled(1)
        await crowded.world.pool.execute("DELETE FROM endpoint WHERE id = $1", crowded.endpoint)
        await crowded.taken(running, CROWD + 1)

    assert await crowded.world.rejected(0) == []


async def test_what_postgres_forgot_of_a_bypass_is_stored_and_sent_by_the_shards_own_source(
    crowded: Shard,
) -> None:
    await crowded.publish(*range(FEW))

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(FEW)
        await crowded.world.settled(FEW)
        for table in ("attempt", "delivery", "message"):
            await crowded.world.pool.execute(
                f"DELETE FROM {table} WHERE app_id = $1", crowded.victim
            )
        crowded.gate.open()
        await crowded.receiver.wait_for(2 * FEW)
        await crowded.taken(running, CROWD + FEW)
        states = await crowded.world.settled(FEW)

    assert states == {"delivered": FEW}
    assert sorted(await crowded.messages_of(crowded.victim)) == list(range(FEW))


async def test_a_dispatcher_that_dies_beside_a_crowd_leaves_nothing_out_and_nothing_twice(
    crowded: Shard,
) -> None:
    await crowded.publish(*range(FEW))

    async with crowded.dispatching() as dying:
        await crowded.receiver.wait_for(FEW)
        await crowded.world.settled(FEW)
        await dying.die()
    crowded.gate.open()
    async with crowded.dispatching() as running:
        await crowded.publish(FEW)
        await crowded.receiver.wait_for(FEW + 1)
        await crowded.taken(running, CROWD + FEW + 1)

    assert crowded.came() == list(range(FEW + 1))
    assert await crowded.world.states() == {"delivered": FEW + 1}


async def test_what_a_dispatcher_that_died_stores_late_goes_before_what_is_taken_behind_it(
    crowded: Shard,
) -> None:
    await crowded.publish(*range(FEW))

    async with crowded.world.pool.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        crowded.gate.leave_open(late)
        async with crowded.dispatching() as dying:
            await crowded.gate.left_open.wait()
            await dying.die()
        await crowded.publish(FEW)
        async with crowded.dispatching() as running:
            await eventually(lambda: waiting(crowded.world.pool, 1))
            await transaction.commit()
            await crowded.receiver.wait_for(FEW + 1)
            await crowded.taken(running, CROWD + FEW + 1)

    assert crowded.came() == list(range(FEW + 1))
    assert await crowded.world.states() == {"delivered": FEW + 1}


async def test_apps_are_read_past_a_crowd_by_a_new_consumer_when_theirs_is_gone(
    crowded: Shard,
) -> None:
    await crowded.publish(*range(FEW))

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(FEW)
        stream = crowded.bus.jetstream()
        for consumer in await stream.consumers_info(STREAM):
            await stream.delete_consumer(STREAM, consumer.name)
        await crowded.publish(FEW)
        await crowded.receiver.wait_for(FEW + 1)
        await crowded.taken(running, CROWD + FEW + 1)

    assert crowded.came() == list(range(FEW + 1))
    assert metrics_of(running).bypassed._value.get() == FEW + 1
    assert taken_as(running, "repeated") == 0


async def test_an_app_that_publishes_first_while_its_shard_is_crowded_is_read_past_it_too(
    crowded: Shard,
) -> None:
    await crowded.publish(1)

    async with crowded.dispatching() as running:
        await crowded.receiver.wait_for(1)
        late = await crowded.world.app(shard=SHARD)
        await crowded.world.endpoint(late, crowded.receiver.url("/late"))
        await publish(crowded.bus, late, body=b"2")
        await crowded.receiver.wait_for(2)
        await crowded.taken(running, CROWD + 2)

    assert await crowded.world.states() == {"delivered": 2}
    # The bypass that was made anew brought the first event once more.
    assert metrics_of(running).bypassed._value.get() == 2
    assert taken_as(running, "repeated") == 0
