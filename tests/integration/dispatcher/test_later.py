"""Messages for later are sent then and hold up nobody; raw payloads are sent as they are."""

import asyncio
from datetime import timedelta

import pytest
from nats.aio.client import Client

from schema import event
from schema.store.link import Pool
from tests.dispatching import dispatching, eventually, new_world, now, publish
from tests.receiver import Receiver
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_message_for_later_goes_at_its_time_and_what_comes_behind_it_at_once(
    pool: Pool, services: Services, bus: Client, receiver: Receiver, *, ordered: bool
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/in"), ordered=ordered)
    async with dispatching(pool, services.nats_url):
        due_at = now() + timedelta(seconds=1.5)
        headers = {event.DELIVER_AT: due_at.isoformat()}
        await publish(bus, app_id, body=b'"later"', headers=headers)
        await publish(bus, app_id, body=b'"now"')

        await receiver.wait_for(n=1)
        before = now()
        await receiver.wait_for(n=2)

    assert [received.body for received in receiver.requests] == [b'"now"', b'"later"']
    first, second = [row["started_at"] for row in await world.attempts()]
    assert first < due_at
    assert before < due_at <= second
    assert (
        await pool.fetchval("SELECT deliver_at FROM message WHERE payload = '\"later\"'") == due_at
    )


async def test_what_is_for_later_is_found_by_the_next_dispatcher(
    pool: Pool, services: Services, bus: Client, receiver: Receiver
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/in"))
    due_at = now() + timedelta(seconds=2)

    async def owed() -> bool:
        return await world.states() == {"pending": 1}

    async with dispatching(pool, services.nats_url):
        await publish(bus, app_id, headers={event.DELIVER_AT: due_at.isoformat()})
        await eventually(owed)

    async with dispatching(pool, services.nats_url, "d2"):
        assert await world.settled(1) == {"delivered": 1}

    assert (await world.attempts())[0]["started_at"] >= due_at


async def test_a_time_that_is_over_or_cannot_be_read(
    pool: Pool, services: Services, bus: Client, receiver: Receiver
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/in"))
    async with dispatching(pool, services.nats_url):
        past, far = (now() + timedelta(hours=hours) for hours in (-1, 25))
        await publish(bus, app_id, headers={event.DELIVER_AT: past.isoformat()})
        for header in ({event.DELIVER_AT: far.isoformat()}, {event.PAYLOAD_HOURS: "0"}):
            await publish(bus, app_id, headers=header)

        assert await world.settled(1) == {"delivered": 1}
        reasons = [row["reason"] for row in await world.rejected(2)]

    assert reasons == ["bad_deliver_at", "bad_payload_hours"]


async def test_a_raw_payload_is_sent_as_it_is_and_kept_for_its_hours(
    pool: Pool, services: Services, bus: Client, receiver: Receiver
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/in"))
    headers = {event.RAW: "1", event.CONTENT_TYPE: "text/plain", event.PAYLOAD_HOURS: "24"}
    async with dispatching(pool, services.nats_url):
        await publish(bus, app_id, body=b"{no JSON", headers=headers)
        [received] = await receiver.wait_for(n=1)
        await asyncio.wait_for(world.settled(1), 10)

    assert (received.body, received.header("content-type")) == (b"{no JSON", "text/plain")
    kept = await pool.fetchval("SELECT payload_until - created_at FROM message")
    assert kept == timedelta(hours=24)
