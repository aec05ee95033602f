"""A dispatcher that goes out by an egress proxy, on real parts."""

import pytest
from nats.aio.client import Client

from dispatcher.egress import ProxyKind
from schema.store.link import Pool
from tests.dispatching import dispatching, eventually, new_world, publish
from tests.listener import HOST
from tests.proxies import TunnelProxy
from tests.receiver import Receiver
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")


@pytest.mark.parametrize("kind", list(ProxyKind), ids=[kind.name.lower() for kind in ProxyKind])
async def test_deliveries_go_through_the_proxy_and_wait_for_it_while_it_is_away(
    pool: Pool, services: Services, bus: Client, kind: ProxyKind
) -> None:
    world = await new_world(pool)
    app_id = await world.app()

    async def attempted() -> bool:
        return bool(await world.attempts())

    async with Receiver() as receiver:
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.2] * 20)
        async with TunnelProxy(kind, user="hookline", password="pa55-word") as proxy:
            pass
        async with dispatching(pool, services.nats_url, egress_proxy=proxy.proxy):
            await publish(bus, app_id)
            await eventually(attempted)
            async with proxy:
                assert await world.settled(1) == {"delivered": 1}
    attempts = await world.attempts()
    assert len(receiver.requests) == 1
    assert set(proxy.asked) == {(HOST, receiver.port)}
    assert attempts[0]["verdict"] == "retry"
    assert "pa55-word" not in str([dict(attempt) for attempt in attempts])
