"""An endpoint that is down costs next to nothing, loses nothing, and gets all when it is back."""

import asyncio
from itertools import pairwise

import pytest
from nats.aio.client import Client

from dispatcher.lanes import HANDFUL
from schema.store.link import Pool
from tests.dispatching import Running, World, dispatching, eventually, new_world, publish, resend
from tests.receiver import Behaviour, Received, Receiver, Writer, answer, hang
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")
AFTER = 5
LATER = 600.0  # seconds: a retry that no test lives to see
QUICK = {"failing_after": AFTER, "probe_gap_s": 0.1, "probe_gap_most_s": 0.3}


class Crowd:
    """A behaviour that knows how many requests were under way when each came."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._now = 0
        self.met: list[int] = []

    async def __call__(self, received: Received, writer: Writer) -> None:
        self._now += 1
        self.met.append(self._now)
        try:
            await self._behaviour(received, writer)
        finally:
            self._now -= 1


async def fail(world: World, running: Running, url: str, *, number: int) -> None:
    """Publish so many events for an endpoint that fails, until it is only probed."""
    app_id = await world.app()
    await world.endpoint(app_id, url, policy=[LATER])
    await asyncio.gather(*(publish(running.bus, app_id) for _ in range(number)))
    made = running.dispatcher
    await eventually(lambda: bool(made._lanes.failing) and not made._schedule.in_flight)


async def attempted(world: World) -> int:
    number: int = await world.pool.fetchval("SELECT count(*) FROM delivery WHERE attempts > 0")
    return number


@pytest.mark.parametrize(
    ("down", "timeout_s"),
    # Whoever answers has time: a request that was given up may still count at the receiver.
    [(answer(500), 10.0), (answer(429), 10.0), (hang(), 0.2)],
    ids=["500", "429", "hangs"],
)
async def test_one_probe_goes_at_a_time_and_what_waits_loses_no_attempt(
    pool: Pool, services: Services, bus: Client, down: Behaviour, timeout_s: float
) -> None:
    world = await new_world(pool)
    async with (
        Receiver() as receiver,
        dispatching(pool, services.nats_url, request_timeout_s=timeout_s, **QUICK) as running,
    ):
        crowd = Crowd(down)
        receiver.script("/dead", crowd)
        app_id = await world.app()
        await world.endpoint(app_id, receiver.url("/dead"), policy=[LATER])
        await world.endpoint(app_id, receiver.url("/live"))
        await asyncio.gather(*(publish(bus, app_id) for _ in range(100)))

        came = await receiver.wait_for(30, path="/dead")
        await receiver.wait_for(100, path="/live")

        (lane,) = [lane for lane in running.dispatcher._lanes if lane.health.failing]
        assert len(lane.held) <= 3 * HANDFUL
        assert set(crowd.met[-5:]) == {1}
        probes = [later.at - sooner.at for sooner, later in pairwise(came[-5:])]
        assert all(gap_s >= 0.3 for gap_s in probes)
        assert await attempted(world) <= len(receiver.requests)

        receiver.script("/dead", answer(200))
        states = {"delivered": 200 - len(crowd.met), "retrying": len(crowd.met)}
        await eventually(lambda: _stand(world, states))
    assert {row["attempts"] for row in await pool.fetch("SELECT attempts FROM delivery")} == {1}


async def _stand(world: World, states: dict[str, int]) -> bool:
    return await world.states() == states


async def test_what_speaks_of_a_message_does_not_speak_of_the_endpoint(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url, **QUICK) as running:
        receiver.script("/", answer(422))
        app_id = await world.app()
        await world.endpoint(app_id, receiver.url("/hook"), policy=[])

        await asyncio.gather(*(publish(bus, app_id) for _ in range(50)))

        assert await world.settled(50) == {"dead": 50}
        assert not running.dispatcher._lanes.failing


async def test_what_is_sent_again_by_hand_is_the_next_probe_at_once_however_much_is_due(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    limits = {"failing_after": AFTER, "probe_gap_s": 60.0, "lane_depth": 4}
    async with Receiver() as receiver, dispatching(pool, services.nats_url, **limits) as running:
        receiver.script("/", answer(500))
        await fail(world, running, receiver.url("/hook"), number=100)
        failed = len(receiver.requests)
        await eventually(lambda: _stand(world, {"retrying": failed, "pending": 100 - failed}))
        receiver.script("/", answer(200))
        chosen = await pool.fetchval(
            "SELECT message_id FROM delivery WHERE state = 'retrying' ORDER BY due_at DESC LIMIT 1"
        )

        await resend(world, bus, chosen)

        await eventually(lambda: _stand(world, {"retrying": failed - 1, "delivered": 101 - failed}))
        assert receiver.requests[failed].header("webhook-id") == chosen


async def test_a_url_that_is_mended_is_tried_at_once(pool: Pool, services: Services) -> None:
    world = await new_world(pool)
    limits = {"failing_after": AFTER, "probe_gap_s": 60.0}
    async with Receiver() as receiver, dispatching(pool, services.nats_url, **limits) as running:
        receiver.script("/wrong", answer(500))
        await fail(world, running, receiver.url("/wrong"), number=40)

        await pool.execute("UPDATE endpoint SET url = $1", receiver.url("/right"))

        await eventually(lambda: _nothing_pending(world))
    assert [r for r in receiver.requests if r.path == "/right"]


async def _nothing_pending(world: World) -> bool:
    return "pending" not in await world.states()


async def test_an_endpoint_with_little_to_send_is_probed_by_its_retries(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url, **QUICK):
        receiver.script("/", answer(500))
        app_id = await world.app()
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.05] * 10)
        await publish(bus, app_id)
        came = await receiver.wait_for(AFTER + 2)

        receiver.script("/", answer(200))

        assert await world.settled(1) == {"delivered": 1}
    gaps_s = [later.at - sooner.at for sooner, later in pairwise(came)]
    assert gaps_s[AFTER - 1] >= 0.1
    assert gaps_s[AFTER] >= 0.2
