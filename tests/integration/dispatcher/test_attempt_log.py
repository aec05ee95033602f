"""Operators who name the log of attempts are told of each, once, many in one webhook."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client

from dispatcher.attempt_log import MOST_WAITING, AttemptLog
from schema.delivery import Fault, Outcome, State
from schema.operational import Kind
from schema.store import attempt_log
from schema.store import operational as store
from schema.store.link import Pool
from schema.store.settle import Settlement
from tests import settling
from tests.dispatching import (
    World,
    config,
    dispatching,
    elsewhere,
    eventually,
    new_world,
    parts,
    publish,
)
from tests.operators import listening, told
from tests.receiver import Receiver, answer, sequence
from tests.services import Services

LOG = Kind.ATTEMPT_LOG
HOOK = "http://127.0.0.1:9/hook"


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await settling.owned_world(pool)


def telling(pool: Pool, bus: Client, **changes: int) -> AttemptLog:
    """Make what tells of attempts."""
    return AttemptLog(parts(pool, bus, config(**changes), dice=lambda: 0.5))


async def attempted(world: World, app_id: str, number: int = 1) -> Sequence[Settlement]:
    """Settle the first attempts of new messages of an app, and have them staged."""
    endpoint_id = await world.endpoint(app_id, HOOK)
    return await staged(
        world,
        *[
            settling.settlement(app_id, endpoint_id, message_id, State.DELIVERED)
            for message_id in await world.owe(app_id, endpoint_id, number)
        ],
    )


async def staged(world: World, *batch: Settlement) -> Sequence[Settlement]:
    await settling.settle(world.pool, *batch, told={LOG})
    return batch


def ids_of(batch: Sequence[Settlement]) -> list[str]:
    return [settled.attempt.id for settled in batch if settled.attempt is not None]


async def lines(pool: Pool) -> list[list[dict[str, Any]]]:
    """Give the logs that wait to be published."""
    return [event["data"] for event in await told(pool, LOG)]


async def waiting(pool: Pool) -> int:
    async with pool.acquire() as link:
        return await attempt_log.waiting(link)


async def wanted(pool: Pool) -> frozenset[str]:
    async with pool.acquire() as link:
        return await store.wanted(link)


async def test_without_anybody_who_wants_it_nothing_is_staged(world: World, pool: Pool) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, HOOK)
    (message_id,) = await world.owe(app_id, endpoint_id)
    settled = settling.settlement(app_id, endpoint_id, message_id, State.DELIVERED)

    await settling.settle(pool, settled, told=set(Kind) - {LOG})

    assert await waiting(pool) == 0


async def test_an_endpoint_wants_it_only_by_its_name(world: World, pool: Pool) -> None:
    await listening(world)
    assert await wanted(pool) == frozenset(Kind) - {LOG}

    await listening(world, event_types=[LOG])

    assert await wanted(pool) == frozenset(Kind)


async def test_a_line_says_what_svix_says_of_an_attempt(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    app_id = await world.app(uid="acme")
    endpoint_id = await world.endpoint(app_id, HOOK)
    (message_id,) = await world.owe(app_id, endpoint_id)
    await pool.execute("UPDATE message SET event_id = 'order-1' WHERE id = $1", message_id)
    outcome = Outcome(status=503, phases_ms=(1.0, 2.0, 3.0, 40.0, 4.0), duration_ms=55)
    failed = settling.settlement(app_id, endpoint_id, message_id, State.RETRYING, attempts=3)
    (failed,) = await staged(world, settling.with_outcome(failed, outcome))

    await telling(pool, bus).once()

    ((line,),) = await lines(pool)
    http = line.pop("httpTimes")
    start, end = line.pop("attemptStart"), line.pop("attemptEnd")
    assert _ms(line.pop("msgCreated"), start) >= 0
    assert [_ms(start, at) for at in (http["start"], http["end"], end)] == [6, 50, 55]
    assert line == {
        "orgId": world.environment_id,
        "appId": app_id,
        "appUid": "acme",
        "endpointId": endpoint_id,
        "eventType": "a.b",
        "msgId": message_id,
        "msgEventId": "order-1",
        "attemptId": ids_of([failed])[0],
        "attemptCount": 3,
        "responseStatusCode": 503,
        "status": 2,
    }


def _ms(since: str, until: str) -> int:
    took = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    return round(took.total_seconds() * 1000)


async def test_an_attempt_without_an_answer_has_no_times_of_one(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, HOOK)
    (message_id,) = await world.owe(app_id, endpoint_id)
    lost = settling.settlement(app_id, endpoint_id, message_id, State.RETRYING)
    outcome = Outcome(fault=Fault.CONNECT, detail="refused", phases_ms=(1.0, 0.0, 0.0, 0.0, 0.0))
    await staged(world, settling.with_outcome(lost, outcome))

    await telling(pool, bus).once()

    ((line,),) = await lines(pool)
    assert (line["responseStatusCode"], line["httpTimes"], line["status"]) == (0, None, 2)


async def test_many_attempts_are_told_in_the_fewest_events_each_once_and_in_order(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    app_id = await world.app()
    batch = await attempted(world, app_id, 1_100)

    await telling(pool, bus).once()
    await telling(pool, bus).once()

    told_of = await lines(pool)
    assert [len(event) for event in told_of] == [500, 500, 100]
    assert [line["attemptId"] for event in told_of for line in event] == ids_of(batch)
    assert await waiting(pool) == 0


async def test_an_event_is_no_larger_than_payloads_may_be(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    await attempted(world, await world.app(), 50)

    await telling(pool, bus, max_payload_bytes=8_192).once()

    told_of = await lines(pool)
    assert sum(len(event) for event in told_of) == 50
    assert len(told_of) > 1
    assert max(len(json.dumps(event)) for event in told_of) < 8_192


async def test_each_environment_is_told_of_its_own_attempts_if_it_wants_them(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world)
    app_id = await world.app()
    other = await elsewhere(world)
    await listening(other, event_types=[LOG])
    await attempted(world, app_id)
    theirs = await attempted(other, await other.app())

    await telling(pool, bus).once()

    (event,) = await told(pool, LOG)
    assert event["environment_id"] == other.environment_id
    assert [line["attemptId"] for line in event["data"]] == ids_of(theirs)
    assert await waiting(pool) == 0


async def test_an_event_names_no_more_apps_than_it_has_channels(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    apps = sorted([await world.app() for _ in range(12)])
    for app_id in apps:
        await attempted(world, app_id)

    await telling(pool, bus).once()

    events = await told(pool, LOG)
    assert [event["channels"] for event in events] == [apps[:10], apps[10:]]
    assert [[line["appId"] for line in event["data"]] for event in events] == [apps[:10], apps[10:]]


@pytest.mark.parametrize(("channel", "hears"), [("mine", 1), ("other", 0)])
async def test_an_endpoint_with_channels_hears_of_its_apps_alone(
    world: World, pool: Pool, bus: Client, channel: str, hears: int
) -> None:
    app_id = await world.app()
    await listening(world, event_types=[LOG], channels=[app_id if channel == "mine" else channel])
    await attempted(world, app_id)

    await telling(pool, bus).once()

    assert len(await told(pool, LOG)) == hears


@pytest.mark.parametrize("told_before", [False, True])
async def test_what_is_settled_twice_is_told_once(
    world: World, pool: Pool, bus: Client, *, told_before: bool
) -> None:
    await listening(world, event_types=[LOG])
    batch = await attempted(world, await world.app(), 2)
    if told_before:
        await telling(pool, bus).once()

    await staged(world, *batch)
    await telling(pool, bus).once()

    (event,) = await lines(pool)
    assert [line["attemptId"] for line in event] == ids_of(batch)


async def test_attempts_wait_as_long_as_too_many_events_do(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    await attempted(world, await world.app())
    await pool.execute(
        """INSERT INTO operational_event (environment_id, kind, key, channels, data)
           SELECT $1, 'alert.raised', '', '{}', '{}' FROM generate_series(1, $2)""",
        world.environment_id,
        MOST_WAITING,
    )

    await telling(pool, bus).once()

    assert (await lines(pool), await waiting(pool)) == ([], 1)


async def test_only_one_dispatcher_tells_of_attempts_at_a_time(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world, event_types=[LOG])
    await attempted(world, await world.app())

    async with pool.acquire() as link, link.transaction():
        assert await attempt_log.try_lock(link)
        await telling(pool, bus).once()

    assert (await lines(pool), await waiting(pool)) == ([], 1)


@pytest.mark.usefixtures("stream")
async def test_an_operator_hears_of_every_attempt_once_and_of_none_of_the_logs_own(
    pool: Pool, bus: Client, services: Services, receiver: Receiver
) -> None:
    world = await new_world(pool)
    await listening(world, receiver.url("/log"), event_types=[LOG])
    await listening(world, receiver.url("/everything"))
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/hook"))
    receiver.script("/hook", sequence(answer(500), answer(200)))

    def heard() -> list[dict[str, Any]]:
        bodies = [json.loads(got.body) for got in receiver.requests if got.path == "/log"]
        assert {body["type"] for body in bodies} <= {LOG}
        return [line for body in bodies for line in body["data"]]

    async with dispatching(pool, services.nats_url, attempt_log_s=0.2):
        for _ in range(30):
            await publish(bus, app_id)
        await eventually(lambda: len(heard()) == 31)
        await eventually(lambda: nothing_waits(pool))

    made = await pool.fetch("SELECT id, status FROM attempt WHERE app_id = $1", app_id)
    assert {line["attemptId"]: line["responseStatusCode"] for line in heard()} == {
        row["id"]: row["status"] for row in made
    }
    assert len(heard()) == len(made)
    assert [got for got in receiver.requests if got.path == "/everything"] == []


async def nothing_waits(pool: Pool) -> bool:
    return await waiting(pool) == 0 and await told(pool) == []
