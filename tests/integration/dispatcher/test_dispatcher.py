"""A dispatcher on a real Postgres, a real NATS and real sockets: from an event to its end."""

import asyncio
import threading
from collections import Counter
from functools import partial
from itertools import pairwise

import asyncpg
import pytest
from nats.aio.client import Client

from schema.retry import RetryPolicy
from schema.store.link import Pool
from tests.dispatching import (
    BODY,
    Running,
    World,
    dispatching,
    eventually,
    new_world,
    now,
    publish,
    resend,
)
from tests.lateness import measured_lateness, shortest_window_s
from tests.receiver import Receiver, answer, hang, raw, sequence
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")


async def published(world: World, bus: Client, app_id: str) -> str:
    """Publish an event that has one endpoint; give its message's id once it is stored."""
    before = await world.pool.fetchval("SELECT count(*) FROM message")
    await publish(bus, app_id)

    async def stored() -> bool:
        return await world.pool.fetchval("SELECT count(*) FROM message") > before

    await eventually(stored)
    return str(await world.pool.fetchval("SELECT id FROM message ORDER BY id DESC LIMIT 1"))


async def test_an_event_is_delivered_once_to_each_matching_endpoint(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id, other = await world.app(), await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        await world.endpoint(app_id, receiver.url("/all"))
        await world.endpoint(app_id, receiver.url("/typed"), event_types=["a.b"])
        await world.endpoint(app_id, receiver.url("/other-type"), event_types=["c.d"])
        await world.endpoint(app_id, receiver.url("/channel"), channels=["red"])
        await world.endpoint(app_id, receiver.url("/other-channel"), channels=["blue"])
        await world.endpoint(app_id, receiver.url("/disabled"), state="disabled")
        await world.endpoint(other, receiver.url("/other-app"))

        await publish(bus, app_id, headers={"Hookline-Channels": "red,green"})

        await world.settled(3)
    assert Counter(r.path for r in receiver.requests) == {"/all": 1, "/typed": 1, "/channel": 1}
    assert {r.body for r in receiver.requests} == {BODY}


async def test_every_event_of_a_backlog_is_delivered_exactly_once(
    pool: Pool, services: Services, bus: Client
) -> None:
    """Lanes of four: refills run while what they read is being settled."""
    world = await new_world(pool)
    async with Receiver() as receiver:
        app_id = await world.app()
        await world.endpoint(app_id, receiver.url("/a"))
        await world.endpoint(app_id, receiver.url("/b"))
        await asyncio.gather(*(publish(bus, app_id) for _ in range(300)))

        async with dispatching(pool, services.nats_url, lane_depth=4):
            states = await world.settled(600, within_s=20)

    assert states == {"delivered": 600}
    counts = Counter((r.path, r.header("webhook-id")) for r in receiver.requests)
    assert [key for key, number in counts.items() if number > 1] == []


async def test_a_failing_delivery_is_retried_on_time_and_never_early(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    waits_s = [0.3, 0.1, 0.2]
    async with Receiver() as receiver, dispatching(pool, services.nats_url, retry_jitter=0.1):
        receiver.script("/", sequence(answer(500), answer(302), answer(404), answer(204)))
        await world.endpoint(app_id, receiver.url("/hook"), policy=waits_s)

        await publish(bus, app_id)

        assert await world.settled(1) == {"delivered": 1}
    gaps_s = [later.at - earlier.at for earlier, later in pairwise(receiver.requests)]
    assert all(
        wait_s <= gap_s <= wait_s * 1.1 + 0.25
        for wait_s, gap_s in zip(waits_s, gaps_s, strict=True)
    )
    assert len({r.header("webhook-id") for r in receiver.requests}) == 1
    attempts = await world.attempts()
    assert [a["number"] for a in attempts] == [1, 2, 3, 4]
    assert [a["verdict"] for a in attempts] == ["retry", "retry", "retry", "delivered"]


async def test_a_retry_after_lengthens_the_wait_and_holds_the_whole_endpoint(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        receiver.script("/", sequence(answer(503, {"Retry-After": "1"}), answer(200)))
        await world.endpoint(app_id, receiver.url("/hook"))
        await publish(bus, app_id)
        (first,) = await receiver.wait_for(1)
        await eventually(lambda: _attempted(world, 1))

        await publish(bus, app_id)

        assert await world.settled(2) == {"delivered": 2}
    assert all(r.at - first.at >= 1 for r in receiver.requests[1:])


async def _attempted(world: World, number: int) -> bool:
    return len(await world.attempts()) >= number


def _waits_s(running: Running, app_id: str, event_type: str) -> tuple[float, ...]:
    tenant = running.dispatcher._directory.tenant(app_id)
    assert tenant is not None
    (target,) = tenant.targets.values()
    return target.policy(event_type).waits_s


async def test_an_event_types_schedule_counts_for_failures_within_a_second_of_its_change(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with (
        Receiver() as receiver,
        dispatching(
            pool, services.nats_url, retry_policy=RetryPolicy(waits_s=(3_600.0,))
        ) as running,
    ):
        receiver.script("/", answer(500))
        await world.endpoint(app_id, receiver.url("/hook"))
        await publish(bus, app_id)
        await eventually(lambda: _attempted(world, 1))

        await pool.execute(
            """INSERT INTO event_type (environment_id, name, retry_policy, created_at, updated_at)
               VALUES ($1, 'a.b', '[0, 0]', now(), now())""",
            world.environment_id,
        )
        await eventually(lambda: _waits_s(running, app_id, "a.b") == (0.0, 0.0), within_s=1)
        await publish(bus, app_id)
        await eventually(lambda: _attempted(world, 4))

        assert await world.states() == {"retrying": 1, "dead": 1}


async def test_what_is_exhausted_is_parked_in_the_transaction_of_its_last_attempt(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        head = b"HTTP/1.1 500 No\r\nX-Why: b\r\nx-why: a\r\nContent-Length: 2\r\n\r\n"
        receiver.script("/", raw(head + b"no"))
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.02, 0.02])

        await publish(bus, app_id, headers={"Hookline-Event-Id": "e1"})

        assert await world.settled(1) == {"dead": 1}
    (letter,) = await world.letters()
    attempts = await world.attempts()
    assert len(attempts) == 3
    assert (letter["reason"], letter["state"], letter["attempts"]) == ("exhausted", "parked", 3)
    assert (letter["payload"], letter["response"], letter["event_id"]) == (BODY, b"no", "e1")
    headers = [["x-why", "b"], ["x-why", "a"], ["content-length", "2"]]
    assert letter["response_headers"] == attempts[2]["response_headers"] == headers
    assert (letter["first_attempt_at"], letter["last_attempt_id"]) == (
        attempts[0]["started_at"],
        attempts[2]["id"],
    )
    written_by = {
        await pool.fetchval("SELECT xmin::text FROM dead_letter"),
        await pool.fetchval("SELECT xmin::text FROM delivery"),
        await pool.fetchval("SELECT xmin::text FROM attempt ORDER BY id DESC LIMIT 1"),
    }
    assert len(written_by) == 1


async def test_a_dead_letter_that_is_redelivered_keeps_its_id_and_ends_as_redelivered(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        receiver.script("/", sequence(answer(500), answer(500), answer(200)))
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.02])
        message_id = await published(world, bus, app_id)
        assert await world.settled(1) == {"dead": 1}

        await resend(world, bus, message_id)

        assert await world.settled(1) == {"delivered": 1}
    row = await world.delivery(message_id)
    (letter,) = await world.letters()
    assert [r.header("webhook-id") for r in receiver.requests] == [message_id] * 3
    assert (row["attempts"], row["run"], row["manual"]) == (3, 1, False)
    assert letter["state"] == "redelivered"
    assert [a["trigger"] for a in await world.attempts()] == [0, 0, 1]


async def test_a_redelivery_that_fails_again_runs_through_its_schedule_and_is_parked_in_place(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        receiver.script("/", answer(500))
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.02])
        message_id = await published(world, bus, app_id)
        await world.settled(1)
        (before,) = await world.letters()

        await resend(world, bus, message_id)

        assert await world.settled(1) == {"dead": 1}
    (letter,) = await world.letters()
    assert (letter["id"], letter["state"], letter["attempts"]) == (before["id"], "parked", 4)
    assert letter["first_attempt_at"] == before["first_attempt_at"]


async def test_what_was_delivered_and_is_sent_again_stays_delivered_whatever_comes(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        receiver.script("/", sequence(answer(200), answer(500), answer(200)))
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.02, 0.02])
        message_id = await published(world, bus, app_id)
        await world.settled(1)
        delivered_at = (await world.delivery(message_id))["delivered_at"]

        await resend(world, bus, message_id)

        await receiver.wait_for(2)
        assert await world.settled(1) == {"delivered": 1}
    assert (await world.delivery(message_id))["delivered_at"] == delivered_at
    assert [a["verdict"] for a in await world.attempts()] == ["delivered", "failed"]
    assert await world.letters() == []


async def test_410_disables_the_endpoint_and_parks_what_it_is_owed(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        receiver.script("/", sequence(answer(500), answer(410)))
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), policy=[600.0])
        await publish(bus, app_id)
        await eventually(lambda: _attempted(world, 1))

        await publish(bus, app_id)

        assert await world.settled(2) == {"dead": 2}
        await publish(bus, app_id)
        await eventually(lambda: _messages(world, 3))
        assert await world.states() == {"dead": 2}
    assert {letter["reason"] for letter in await world.letters()} == {"gone", "endpoint_disabled"}
    endpoint = await pool.fetchrow("SELECT * FROM endpoint WHERE id = $1", endpoint_id)
    assert endpoint is not None
    assert (endpoint["state"], endpoint["state_reason"]) == ("disabled", "gone")
    assert len(receiver.requests) == 2


async def _messages(world: World, number: int) -> bool:
    return await world.pool.fetchval("SELECT count(*) FROM message") >= number


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE endpoint SET deleted_at = now()", "endpoint_deleted"),
        ("UPDATE app SET deleted_at = now()", "endpoint_deleted"),
        ("UPDATE endpoint SET state = 'disabled'", "endpoint_disabled"),
    ],
)
async def test_what_nobody_can_get_any_more_is_parked_with_the_reason_and_not_sent(
    pool: Pool, services: Services, bus: Client, statement: str, reason: str
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        receiver.script("/", answer(500))
        await world.endpoint(app_id, receiver.url("/hook"), policy=[600.0])
        await publish(bus, app_id)
        await eventually(lambda: _attempted(world, 1))

        await pool.execute(statement)

        # Retries are not due for minutes; what is done with them then is done at a resend as well.
        message_id = (await pool.fetchval("SELECT id FROM message")) or ""
        await resend(world, bus, message_id)
        assert await world.settled(1) == {"dead": 1}
    (letter,) = await world.letters()
    assert (letter["reason"], letter["attempts"]) == (reason, 1)
    assert len(receiver.requests) == 1


async def test_a_paused_endpoint_gets_nothing_until_it_goes_on_and_then_everything(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), state="paused")
        await world.endpoint(app_id, receiver.url("/witness"))
        for _ in range(3):
            await publish(bus, app_id)
        await receiver.wait_for(3, path="/witness")
        await eventually(partial(_stand, world, {"pending": 3, "delivered": 3}))

        await world.set_state(endpoint_id, "active")

        assert await world.settled(6) == {"delivered": 6}
    assert Counter(r.path for r in receiver.requests) == {"/hook": 3, "/witness": 3}


async def _stand(world: World, states: dict[str, int]) -> bool:
    return await world.states() == states


async def test_a_change_counts_for_the_very_next_event(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        endpoint_id = await world.endpoint(app_id, receiver.url("/0"))
        for version in range(1, 20):
            await pool.execute(
                "UPDATE endpoint SET url = $2, event_types = $3 WHERE id = $1",
                endpoint_id,
                receiver.url(f"/{version}"),
                [f"v.{version}"],
            )
            await publish(bus, app_id, f"v.{version}")
            await publish(bus, app_id, f"v.{version - 1}")
            await eventually(partial(_messages, world, 2 * version))

        await world.settled(19)
    assert Counter(r.path for r in receiver.requests) == {f"/{v}": 1 for v in range(1, 20)}


async def test_a_target_that_changes_while_its_event_is_written_is_not_taken_for_deleted(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver, dispatching(pool, services.nats_url):
        apps = [await world.app() for _ in range(20)]
        for app_id in apps:
            await world.endpoint(app_id, receiver.url("/hook"))

        async def meddle() -> None:
            for app_id in apps:
                await pool.execute("UPDATE app SET name = name || 'x' WHERE id = $1", app_id)

        await asyncio.gather(meddle(), *(publish(bus, app_id) for app_id in apps))

        assert await world.settled(20) == {"delivered": 20}


async def test_what_memory_forgot_is_found_by_the_survey(pool: Pool, services: Services) -> None:
    world = await new_world(pool)
    app_id = await world.app(shard=3)
    async with Receiver() as receiver, dispatching(pool, services.nats_url) as running:
        endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
        await world.owe(app_id, endpoint_id, 3)

        await running.dispatcher._arrivals.survey([3])

        assert await world.settled(3) == {"delivered": 3}


async def test_what_was_owed_before_the_start_is_delivered(pool: Pool, services: Services) -> None:
    world = await new_world(pool)
    async with Receiver() as receiver:
        for _ in range(10):
            app_id = await world.app()
            await world.owe(app_id, await world.endpoint(app_id, receiver.url("/hook")), 20)

        async with dispatching(pool, services.nats_url):
            assert await world.settled(200) == {"delivered": 200}
    assert len(receiver.requests) == 200


async def test_an_attempt_that_dies_with_its_process_is_made_again_by_the_next(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    async with Receiver() as receiver:
        receiver.script("/", sequence(answer(500), hang(), answer(200)))
        await world.endpoint(app_id, receiver.url("/hook"))
        async with dispatching(pool, services.nats_url) as first:
            await publish(bus, app_id)
            await receiver.wait_for(2)  # the retry is under way
            await first.die()

        async with dispatching(pool, services.nats_url):
            assert await world.settled(1) == {"delivered": 1}
    assert [a["number"] for a in await world.attempts()] == [1, 2]
    assert len({r.header("webhook-id") for r in receiver.requests}) == 1


async def test_a_stop_ends_in_order_what_was_begun(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    app_id = await world.app()
    answered = asyncio.Event()
    async with Receiver() as receiver, dispatching(pool, services.nats_url) as running:

        async def slow(_: object, writer: object) -> None:
            await answered.wait()
            await writer.answer(200)  # type: ignore[attr-defined]

        receiver.script("/", slow)
        await world.endpoint(app_id, receiver.url("/hook"))
        await publish(bus, app_id)
        await receiver.wait_for(1)

        running.stop.set()
        await asyncio.sleep(0)
        answered.set()
        await running.task

        assert await world.states() == {"delivered": 1}
    assert await pool.fetchval("SELECT count(*) FROM shard WHERE owner IS NOT NULL") == 0
    assert await pool.fetchval("SELECT count(*) FROM dispatcher") == 0


@pytest.mark.parametrize("limited", ["endpoint", "app"])
async def test_a_rate_is_never_exceeded_at_the_receiver_not_even_when_the_shard_moves(
    pool: Pool, services: Services, bus: Client, limited: str
) -> None:
    world = await new_world(pool)
    rate = 40
    app_id = await world.app(rate=rate if limited == "app" else None)
    async with Receiver() as receiver, measured_lateness() as lateness:
        for path in ("/a", "/b"):
            await world.endpoint(
                app_id, receiver.url(path), rate=rate if limited == "endpoint" else None
            )
        await asyncio.gather(*(publish(bus, app_id) for _ in range(55)))

        async with dispatching(pool, services.nats_url, "d1") as first:
            await receiver.wait_for(rate + 10)
            async with dispatching(pool, services.nats_url, "d2", owns=0) as second:
                await first.leave()
                await second.owns(8)
                assert await world.settled(110) == {"delivered": 110}

    assert len(receiver.requests) == 110
    for path in ("/a", "/b") if limited == "endpoint" else ("",):
        came = [r for r in receiver.requests if r.path.startswith(path)]
        assert shortest_window_s(came, rate) >= 1.0 - lateness.worst_s


async def test_two_dispatchers_share_the_work_and_each_delivery_is_made_once(
    pool: Pool, services: Services, bus: Client
) -> None:
    world = await new_world(pool)
    async with (
        Receiver() as receiver,
        dispatching(pool, services.nats_url, "d1") as first,
        dispatching(pool, services.nats_url, "d2", owns=4) as second,
    ):
        await first.owns(4)
        apps = [await world.app(uid=f"uid-{n}", shard=n % 8) for n in range(16)]
        for app_id in apps:
            await world.endpoint(app_id, receiver.url("/hook"))

        names = [*apps, *(f"uid-{n}" for n in range(16))]
        began_at = now()
        await asyncio.gather(*(publish(bus, name) for name in names for _ in range(5)))

        assert await world.settled(160) == {"delivered": 160}
        assert (now() - began_at).total_seconds() < 5
        made = [first.dispatcher, second.dispatcher]
        assert all(d._given.metrics.attempts.labels("delivered")._value.get() > 0 for d in made)
    ids = [r.header("webhook-id") for r in receiver.requests]
    assert len(ids) == len(set(ids)) == 160


async def test_a_process_that_was_paused_sends_nothing_under_a_lease_that_others_have(
    pool: Pool, services: Services, bus: Client, database: str
) -> None:
    world = await new_world(pool)
    app_id = await world.app()

    async def take_over() -> None:
        """Wait as a dispatcher would, and take every shard."""
        link = await asyncpg.connect(database)
        while await link.fetchval("SELECT count(*) FROM shard WHERE lease_until >= now()"):
            await asyncio.sleep(0.02)
        await link.execute(
            """UPDATE shard SET owner = 'd2', epoch = epoch + 1,
                                lease_until = now() + interval '1 minute'"""
        )
        await link.close()

    async with (
        Receiver() as receiver,
        dispatching(pool, services.nats_url, lease_s=1.0, drain_s=0.2) as running,
    ):
        receiver.script("/", answer(500))
        await world.endpoint(app_id, receiver.url("/hook"), policy=[0.3, 0.3])
        await publish(bus, app_id)
        await eventually(lambda: _attempted(world, 1))

        pause = threading.Thread(target=lambda: asyncio.run(take_over()))
        pause.start()
        pause.join()  # the whole loop stands still; the retry is due long before it goes on

        await running.owns(0)
    assert len(receiver.requests) == 1
    assert await world.states() == {"retrying": 1}
