"""Whatever happens to the stream or the batch, each event ends as one message or rejected event."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.client import Client

from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from dispatcher.feed import Feed
from schema import ids
from schema.event import STREAM
from schema.store.link import Pool
from tests.dispatching import Running, World, dispatching, eventually, new_world, now, publish
from tests.services import SHARDS, Services

pytestmark = pytest.mark.usefixtures("stream")


def types_are(world: World, wanted: list[str]) -> Callable[[], Awaitable[bool]]:
    """Ask whether the messages are, once each, those of the event types that were published."""

    async def stored() -> bool:
        rows = await world.pool.fetch("SELECT event_type FROM message")
        return sorted(row["event_type"] for row in rows) == sorted(wanted)

    return stored


def feed_of(running: Running) -> Feed:
    return running.dispatcher._feed


async def test_an_event_that_is_lost_on_the_way_is_asked_for_again(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    shard = ids.shard_of(app_id, SHARDS)
    async with dispatching(pool, services.nats_url) as running:
        await publish(bus, app_id, "e.0")
        await eventually(types_are(world, ["e.0"]))
        # One event more was sent to us than has come.
        feed_of(running).sources[shard].consumed -= 1

        await asyncio.gather(*(publish(bus, app_id, f"e.{n}") for n in range(1, 20)))

        await eventually(types_are(world, [f"e.{n}" for n in range(20)]))


async def test_a_consumer_that_is_gone_is_made_anew(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with dispatching(pool, services.nats_url):
        await publish(bus, app_id, "e.0")
        await eventually(types_are(world, ["e.0"]))
        for consumer in await bus.jetstream().consumers_info(STREAM):
            await bus.jetstream().delete_consumer(STREAM, consumer.name)

        await asyncio.gather(*(publish(bus, app_id, f"e.{n}") for n in range(1, 20)))

        await eventually(types_are(world, [f"e.{n}" for n in range(20)]))


async def test_after_a_restart_of_nats_every_event_is_taken_once(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    apps = [await world.app(shard=n) for n in range(SHARDS)]
    async with dispatching(pool, services.nats_url):
        for n, app_id in enumerate(apps):
            await publish(bus, app_id, f"before.{n}")
        await services.nats.kill()
        await services.nats.start()
        await eventually(lambda: bus.is_connected)

        for n, app_id in enumerate(apps):
            await publish(bus, app_id, f"after.{n}")

        wanted = [f"{when}.{n}" for when in ("before", "after") for n in range(SHARDS)]
        await eventually(types_are(world, wanted))


async def test_the_events_of_a_stream_that_was_made_anew_are_taken_from_its_first(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with dispatching(pool, services.nats_url):
        for n in range(5):
            await publish(bus, app_id, f"old.{n}")
        await eventually(types_are(world, [f"old.{n}" for n in range(5)]))
        await bus.jetstream().delete_stream(STREAM)
        config = events_stream(Settings(stream_max_bytes=2**28), shards=SHARDS)
        await ensure_stream(bus.jetstream(), config)

        sequences = [await publish(bus, app_id, f"new.{n}") for n in range(8)]

        assert sequences == list(range(1, 9))
        wanted = [f"old.{n}" for n in range(5)] + [f"new.{n}" for n in range(8)]
        await eventually(types_are(world, wanted))


async def test_a_row_that_postgres_refuses_is_rejected_alone_and_its_batch_is_stored(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    await pool.execute("ALTER TABLE message ADD CHECK (event_type <> 'e.13')")
    sequences = [await publish(bus, app_id, f"e.{n}") for n in range(40)]

    async with dispatching(pool, services.nats_url):
        await eventually(types_are(world, [f"e.{n}" for n in range(40) if n != 13]))
        rejected = await world.rejected(1)

    assert [(r["reason"], r["sequence"]) for r in rejected] == [("not_storable", sequences[13])]


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one after the other"])
async def test_of_events_with_the_same_id_the_first_becomes_a_message(
    pool: Pool, services: Services, bus: Client, *, together: bool
) -> None:
    world = await new_world(pool)
    app_id, other = await world.app(shard=1), await world.app(shard=1)
    named = {"Hookline-Event-Id": "e-1"}

    async def publish_all() -> None:
        await publish(bus, app_id, "first", headers=named)
        if not together:
            await eventually(types_are(world, ["first"]))
        await publish(bus, app_id, "second", headers=named)
        await publish(bus, other, "of.another.app", headers=named)
        await publish(bus, app_id, "last")

    if together:
        await publish_all()
    async with dispatching(pool, services.nats_url):
        if not together:
            await publish_all()

        await eventually(types_are(world, ["first", "of.another.app", "last"]))
    assert await pool.fetchval("SELECT count(*) FROM rejected_event") == 0


async def test_what_a_gateway_accepted_under_a_known_event_id_is_rejected_for_all_to_see(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    first, second = (
        {"Hookline-Event-Id": "e-1", "Hookline-Message-Id": ids.new_id(ids.MESSAGE, now())}
        for _ in range(2)
    )
    async with dispatching(pool, services.nats_url):
        await publish(bus, app_id, "first", headers=first)
        await publish(bus, app_id, "second", headers=second)
        await publish(bus, app_id, "first", headers=first)  # its answer had got lost

        (rejected,) = await world.rejected(1)
        await publish(bus, app_id, "last")
        await eventually(types_are(world, ["first", "last"]))

    assert rejected["reason"] == "duplicate_event_id"
    assert rejected["headers"]["Hookline-Message-Id"] == second["Hookline-Message-Id"]
    assert await pool.fetchval("SELECT count(*) FROM rejected_event") == 1
