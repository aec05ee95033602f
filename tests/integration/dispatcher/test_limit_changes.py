"""A limit that is changed while deliveries wait for it counts within a second."""

import asyncio

import pytest
from nats.aio.client import Client

from schema.store.link import Pool
from tests.dispatching import dispatching, new_world, publish
from tests.receiver import Receiver
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")
SOON_S = 1.2  # a second, and the window that a rate looks back


@pytest.mark.parametrize("limited", ["endpoint", "app"])
async def test_a_limit_that_is_raised_lowered_or_lifted_counts_within_a_second(
    pool: Pool, services: Services, bus: Client, limited: str
) -> None:
    world, loop = await new_world(pool), asyncio.get_running_loop()
    low, high = 4, 60

    async def limit(rate: int | None) -> float:
        await pool.execute(f"UPDATE {limited} SET throttle_rate = $1", rate)
        return loop.time()

    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        app_id = await world.app(rate=low if limited == "app" else None)
        rate = low if limited == "endpoint" else None
        await world.endpoint(app_id, receiver.url("/hook"), rate=rate)
        await asyncio.gather(*(publish(bus, app_id) for _ in range(400)))
        await receiver.wait_for(low + 1)

        raised_at = await limit(high)
        came = await receiver.wait_for(low + 1 + 2 * high)
        assert came[low + 1 + high].at - raised_at < SOON_S + 1

        lowered_at = await limit(low)
        await asyncio.sleep(SOON_S + 1)  # what has to be seen is that little comes
        late = [r for r in receiver.requests if r.at > lowered_at + SOON_S]
        assert len(late) <= low

        lifted_at = await limit(None)
        await receiver.wait_for(400)
        assert receiver.requests[-1].at - lifted_at < SOON_S + 2
