"""An ordered endpoint gets its events in the stream's order, one at a time, whatever comes between.

Each body says its number, so that what a receiver logged tells the order.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import orjson
import pytest
from nats.aio.client import Client

from schema import ids
from schema.store.link import Pool
from tests.dispatching import World, dispatching, eventually, new_world, publish, resend
from tests.lateness import measured_lateness, shortest_window_s
from tests.receiver import Behaviour, Received, Receiver, Writer, answer, hang
from tests.services import SHARDS, Services

pytestmark = pytest.mark.usefixtures("stream")
LATER = 600.0  # seconds: a retry that no test lives to see


async def publish_numbers(bus: Client, app: str, numbers: range) -> None:
    for number in numbers:
        await publish(bus, app, body=b'{"n": %d}' % number)


def number_of(received: Received) -> int:
    return int(orjson.loads(received.body)["n"])


def numbers(receiver: Receiver) -> list[int]:
    """Give the numbers of what came, in the order in which it came."""
    return list(map(number_of, receiver.requests))


def by_number(**first: Behaviour) -> Behaviour:
    """Behave like this the first time that a number comes (`n3`), and answer 200 else."""
    came = Counter[int]()

    async def behave(received: Received, writer: Writer) -> None:
        number = number_of(received)
        came[number] += 1
        usual = answer(200)
        behaviour = first.get(f"n{number}", usual) if came[number] == 1 else usual
        await behaviour(received, writer)

    return behave


async def ordered_endpoint(world: World, receiver: Receiver, **other: object) -> tuple[str, str]:
    """Make an app with an ordered endpoint; give the ids of both."""
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), ordered=True, **other)  # type: ignore[arg-type]
    return app_id, endpoint_id


async def set_ordered(world: World, endpoint_id: str, *, ordered: bool) -> None:
    await world.pool.execute("UPDATE endpoint SET ordered = $2 WHERE id = $1", endpoint_id, ordered)


def stand(world: World, states: dict[str, int]) -> Callable[[], Awaitable[bool]]:
    async def they_do() -> bool:
        return await world.states() == states

    return they_do


async def blocked_endpoint(world: World, bus: Client, receiver: Receiver, number: int) -> str:
    """Have so many wait, all but the first because that one failed; give the endpoint."""
    receiver.script("/", by_number(n0=answer(500)))
    app_id, endpoint_id = await ordered_endpoint(world, receiver, policy=[LATER])
    await publish_numbers(bus, app_id, range(number))
    await eventually(stand(world, {"retrying": 1, "pending": number - 1}))
    return endpoint_id


async def test_the_next_goes_only_when_the_former_has_arrived(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url, request_timeout_s=0.3):
        receiver.script("/", by_number(n0=answer(500), n7=hang(), n8=answer(503), n19=answer(400)))
        app_id, _ = await ordered_endpoint(world, receiver, policy=[0.05, 0.05])

        await publish_numbers(bus, app_id, range(20))

        assert await world.settled(20) == {"delivered": 20}
    came = numbers(receiver)
    assert came == sorted(came)
    assert [n for n, number in Counter(came).items() if number == 2] == [0, 7, 8, 19]


async def test_a_flood_that_memory_has_no_room_for_comes_in_order(
    pool: Pool, services: Services, bus: Client
) -> None:
    """Published while it is sent: what is just accepted must not pass what Postgres keeps."""
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url, lane_depth=8):
        app_id, _ = await ordered_endpoint(world, receiver)

        await publish_numbers(bus, app_id, range(200))

        assert await world.settled(200, within_s=20) == {"delivered": 200}
    assert numbers(receiver) == list(range(200))


async def test_what_is_given_up_blocks_nobody_any_more(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    always = answer(500)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):

        async def behave(received: Received, writer: Writer) -> None:
            await (always if number_of(received) == 1 else answer(200))(received, writer)

        receiver.script("/", behave)
        app_id, _ = await ordered_endpoint(world, receiver, policy=[0.1])

        await publish_numbers(bus, app_id, range(4))

        assert await world.settled(4) == {"delivered": 3, "dead": 1}
    assert numbers(receiver) == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("end", ["leave", "die"])
async def test_order_outlives_the_dispatcher(
    pool: Pool, services: Services, bus: Client, end: str
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver:
        receiver.script("/", by_number(n5=answer(500), n12=hang()))
        async with dispatching(
            pool, services.nats_url, request_timeout_s=0.3, lane_depth=4
        ) as first:
            app_id, _ = await ordered_endpoint(world, receiver, policy=[0.2, 0.2])
            await publish_numbers(bus, app_id, range(30))
            await receiver.wait_for(8)
            await (first.leave() if end == "leave" else first.die())

        async with dispatching(pool, services.nats_url, request_timeout_s=0.3):
            assert await world.settled(30) == {"delivered": 30}
    came = numbers(receiver)
    assert came == sorted(came)


async def test_order_outlives_hand_overs_between_dispatchers(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url, "d1") as first:
        apps = []
        for shard in range(4):
            app_id = await world.app(shard=shard)
            await world.endpoint(app_id, receiver.url(f"/{app_id}"), ordered=True, policy=[0.05])
            apps.append(app_id)
            receiver.script(f"/{app_id}", by_number(n3=answer(500), n11=answer(500)))

        async def publish_slowly(app_id: str) -> None:
            for number in range(40):
                await publish_numbers(bus, app_id, range(number, number + 1))
                await asyncio.sleep(0.01)

        publishing = asyncio.gather(*map(publish_slowly, apps))
        await receiver.wait_for(20)
        async with dispatching(pool, services.nats_url, "d2", owns=SHARDS // 2):
            await receiver.wait_for(100)
            await first.leave()
            await publishing
            assert await world.settled(160, within_s=20) == {"delivered": 160}
    for app_id in apps:
        came = [number_of(r) for r in receiver.requests if r.path == f"/{app_id}"]
        assert came == sorted(came)
        assert len(came) == 42


async def test_order_holds_for_events_that_another_dispatcher_takes_in(
    pool: Pool, services: Services, bus: Client
) -> None:
    """The app is addressed by a uid, whose shard somebody else owns."""
    world = await new_world(pool)
    async with (
        Receiver() as receiver,
        dispatching(pool, services.nats_url, "d1") as first,
        dispatching(pool, services.nats_url, "d2", owns=4) as second,
    ):
        await first.owns(4)
        ours, theirs = first.dispatcher._shards.epochs, second.dispatcher._shards.epochs
        uid = next(f"uid-{n}" for n in range(99) if ids.shard_of(f"uid-{n}", SHARDS) in theirs)
        app_id = await world.app(uid=uid, shard=next(iter(ours)))
        await world.endpoint(app_id, receiver.url("/hook"), ordered=True, policy=[0.05])
        receiver.script("/", by_number(n4=answer(500)))

        await publish_numbers(bus, uid, range(20))

        assert await world.settled(20) == {"delivered": 20}
    assert numbers(receiver) == sorted([*range(20), 4])


async def test_what_was_owed_before_order_was_asked_for_goes_first_by_its_due_time(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        app_id = await world.app()
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), state="paused")
        await publish_numbers(bus, app_id, range(5))
        await eventually(stand(world, {"pending": 5}))
        await set_ordered(world, endpoint_id, ordered=True)
        await publish_numbers(bus, app_id, range(5, 10))
        await eventually(stand(world, {"pending": 10}))
        places = await pool.fetch("SELECT place FROM delivery ORDER BY created_at, message_id")
        assert [row["place"] is None for row in places] == [True] * 5 + [False] * 5

        await world.set_state(endpoint_id, "active")

        assert await world.settled(10) == {"delivered": 10}
    assert sorted(numbers(receiver)[:5]) == list(range(5))
    assert numbers(receiver)[5:] == list(range(5, 10))


async def test_all_that_was_blocked_goes_when_order_is_not_asked_for_any_more(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        endpoint_id = await blocked_endpoint(world, bus, receiver, 50)

        await set_ordered(world, endpoint_id, ordered=False)

        await eventually(stand(world, {"retrying": 1, "delivered": 49}))
        assert await pool.fetchval("SELECT count(*) FROM delivery WHERE place IS NOT NULL") <= 49
    assert sorted(numbers(receiver)) == list(range(50))


async def test_what_an_ordered_endpoint_was_owed_is_parked_when_it_is_disabled(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        endpoint_id = await blocked_endpoint(world, bus, receiver, 10)

        await world.set_state(endpoint_id, "disabled")

        assert await world.settled(10) == {"dead": 10}
    assert numbers(receiver) == [0]


async def test_what_had_ended_and_is_sent_again_by_hand_neither_waits_in_the_order_nor_blocks_it(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        abort = answer(400, {"webhook-delivery": "abort-message"})
        receiver.script("/", by_number(n0=abort, n1=answer(500)))
        app_id, _ = await ordered_endpoint(world, receiver, policy=[LATER])
        await publish_numbers(bus, app_id, range(3))
        await eventually(stand(world, {"dead": 1, "retrying": 1, "pending": 1}))
        given_up = await pool.fetchval("SELECT message_id FROM delivery WHERE state = 'dead'")

        await resend(world, bus, given_up)

        await eventually(stand(world, {"delivered": 1, "retrying": 1, "pending": 1}))
    assert numbers(receiver) == [0, 1, 0]


async def test_the_first_of_the_order_goes_on_when_it_is_sent_again_by_hand(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        await blocked_endpoint(world, bus, receiver, 3)
        rows = await pool.fetch("SELECT message_id FROM delivery ORDER BY place")
        first, last = rows[0]["message_id"], rows[-1]["message_id"]

        await resend(world, bus, last)
        await eventually(partial(woken, world))
        assert numbers(receiver) == [0], "it keeps its place"
        await resend(world, bus, first)

        assert await world.settled(3) == {"delivered": 3}
    assert numbers(receiver) == [0, 0, 1, 2]


async def woken(world: World) -> bool:
    return await world.pool.fetchval("SELECT count(*) FROM wake") == 0


async def test_a_pause_ends_in_order_and_at_the_endpoint_s_rate(
    pool: Pool, services: Services, bus: Client
) -> None:
    world, rate = await new_world(pool), 20
    async with (
        Receiver() as receiver,
        measured_lateness() as lateness,
        dispatching(pool, services.nats_url),
    ):
        app_id, endpoint_id = await ordered_endpoint(world, receiver, rate=rate)
        await publish_numbers(bus, app_id, range(5))
        await receiver.wait_for(5)
        await world.set_state(endpoint_id, "paused")
        await publish_numbers(bus, app_id, range(5, 45))
        await eventually(stand(world, {"delivered": 5, "pending": 40}))

        await world.set_state(endpoint_id, "active")

        assert await world.settled(45) == {"delivered": 45}
    assert numbers(receiver) == list(range(45))
    assert shortest_window_s(receiver.requests, rate) >= 1.0 - lateness.worst_s
