"""What is due and in no lane, for no reason, is found, told, counted and sent."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schema.store.link import Pool
from tests.dispatching import Running, World, dispatching, eventually
from tests.receiver import Receiver, answer, hang
from tests.services import SHARDS, Services

pytestmark = pytest.mark.usefixtures("stream")


@pytest_asyncio.fixture
async def running(pool: Pool, services: Services) -> AsyncIterator[Running]:
    """Lend one that has looked at what its shards are owed."""
    async with dispatching(pool, services.nats_url) as made:
        await eventually(lambda: len(made.dispatcher._feed.sources) == SHARDS)
        yield made


async def late(world: World, app_id: str, endpoint_id: str, number: int = 1) -> list[str]:
    """Owe messages since a minute ago, without a word to the dispatcher."""
    made = await world.owe(app_id, endpoint_id, number)
    await world.pool.execute(
        "UPDATE delivery SET due_at = due_at - interval '1 minute' WHERE message_id = ANY ($1)",
        made,
    )
    return made


def counted(running: Running) -> float:
    return running.dispatcher._given.metrics.stuck._value.get()


async def test_what_nobody_was_told_of_is_found_told_counted_and_delivered(
    world: World, receiver: Receiver, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await late(world, app_id, endpoint_id, 3)

    with caplog.at_level(logging.ERROR):
        await running.dispatcher._stuck.once()

    assert await world.settled(3) == {"delivered": 3}
    assert counted(running) == 3
    assert "3 deliveries to 1 endpoints were due and in no lane" in caplog.text


async def test_it_is_found_beside_what_the_lane_is_busy_with(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    receiver.script("/hook", hang())
    await late(world, app_id, endpoint_id, 2)
    await world.wake(app_id, endpoint_id)
    await receiver.wait_for(2)
    receiver.script("/hook", answer())
    (lost,) = await late(world, app_id, endpoint_id)

    await running.dispatcher._stuck.once()

    came = await receiver.wait_for(3)
    assert came[-1].header("webhook-id") == lost
    assert counted(running) == 1


async def test_what_has_a_place_in_an_order_is_found(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), ordered=True)
    made = await world.owe(app_id, endpoint_id, 3, place=7)
    await world.pool.execute("UPDATE delivery SET due_at = due_at - interval '1 minute'")

    await running.dispatcher._stuck.once()

    await world.settled(3)
    assert [one.header("webhook-id") for one in receiver.requests] == made
    assert counted(running) == 1


async def test_what_waits_for_a_reason_is_not_stuck(
    world: World, receiver: Receiver, running: Running
) -> None:
    receiver.script("/hang", hang())
    receiver.script("/bad", answer(500))
    app_id = await world.app()
    paused = await world.endpoint(app_id, receiver.url("/paused"), state="paused")
    rated = await world.endpoint(app_id, receiver.url("/rated"), rate=1)
    hanging = await world.endpoint(app_id, receiver.url("/hang"))
    failing = await world.endpoint(app_id, receiver.url("/bad"), policy=[0.01] * 20)
    ordered = await world.endpoint(app_id, receiver.url("/hang"), ordered=True)
    for endpoint_id in (paused, rated, hanging, failing, ordered):
        await late(world, app_id, endpoint_id, 40)
        await world.wake(app_id, endpoint_id)

    async def all_begun() -> bool:
        paths = [one.path for one in receiver.requests]
        failing_now = running.dispatcher._lanes.failing
        return paths.count("/hang") >= 17 and "/rated" in paths and bool(failing_now)

    await eventually(all_begun)
    lane = running.dispatcher._lanes.get(app_id, paused)
    assert lane is not None

    for _ in range(2):
        await running.dispatcher._stuck.once()
        await asyncio.sleep(0)

    assert counted(running) == 0


async def test_what_is_due_soon_is_known_to_its_lane_from_then_on(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await world.owe(app_id, endpoint_id)
    await world.pool.execute("UPDATE delivery SET due_at = now() + interval '0.2 s'")

    await running.dispatcher._stuck.once()

    assert await world.settled(1) == {"delivered": 1}
    assert counted(running) == 0
