"""Operators hear of what becomes of endpoints and attempts, by our own engine, signed."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from standardwebhooks.webhooks import Webhook

from schema import event
from schema.endpoint import secret_context
from schema.operational import app_of
from schema.store.link import Pool
from tests.dispatching import (
    VAULT,
    Running,
    World,
    dispatching,
    eventually,
    publish,
    resend,
)
from tests.operators import listening, told
from tests.receiver import Received, Receiver, answer, sequence
from tests.services import Services

QUICK = [0.02] * 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A world, a receiver, and what a dispatcher stands on."""

    world: World
    receiver: Receiver
    bus: Client
    nats_url: str

    def dispatching(self) -> AbstractAsyncContextManager[Running]:
        return dispatching(self.world.pool, self.nats_url)

    async def heard(self, number: int, path: str = "/operators") -> list[dict[str, Any]]:
        """Give what operators were sent, once it is so much."""
        requests = await self.receiver.wait_for(number, path=path)
        return [json.loads(request.body) for request in requests]


@pytest_asyncio.fixture
async def stage(world: World, bus: Client, stream: str, services: Services) -> AsyncIterator[Stage]:
    assert stream
    async with Receiver() as receiver:
        yield Stage(world=world, receiver=receiver, bus=bus, nats_url=services.nats_url)


async def verify(pool: Pool, endpoint_id: str, request: Received) -> Any:
    """Verify a request as a receiver does; give its body."""
    row = await pool.fetchrow("SELECT * FROM endpoint_secret WHERE endpoint_id = $1", endpoint_id)
    context = secret_context(row["app_id"], endpoint_id)
    key = VAULT.open(row["sealed"], context=context)
    return Webhook(key).verify(request.body, dict(request.headers))


async def test_an_operational_webhook_arrives_signed_after_an_endpoint_has_died(
    stage: Stage,
) -> None:
    world = stage.world
    stage.receiver.script("/gone", answer(410))
    app_id = await world.app(uid="acme")
    endpoint_id = await world.endpoint(app_id, stage.receiver.url("/gone"))
    listener = await listening(
        world, stage.receiver.url("/operators"), event_types=["endpoint.disabled"]
    )

    async with stage.dispatching():
        await publish(stage.bus, app_id)
        (request,) = await stage.receiver.wait_for(1, path="/operators")

    body = await verify(world.pool, listener, request)
    assert body["type"] == "endpoint.disabled"
    assert body["data"] == {
        "appId": app_id, "appUid": "acme", "endpointId": endpoint_id, "endpointUid": None,
        "trigger": "automatic", "reason": "gone", "failSince": None,
    }  # fmt: skip


async def test_the_fourth_failure_and_the_last_are_told_and_no_other(stage: Stage) -> None:
    world = stage.world
    stage.receiver.script("/down", answer(503))
    app_id = await world.app(uid="acme")
    endpoint_id = await world.endpoint(app_id, stage.receiver.url("/down"), policy=QUICK)
    kinds = ["message.attempt.failing", "message.attempt.exhausted", "message.attempt.recovered"]
    await listening(world, stage.receiver.url("/operators"), event_types=kinds)

    async with stage.dispatching():
        await publish(stage.bus, app_id, headers={"Hookline-Event-Id": "order-1"})
        bodies = await stage.heard(2)

    attempts = [a for a in await world.attempts() if a["endpoint_id"] == endpoint_id]
    assert [body["type"] for body in bodies] == kinds[:2]
    for body, attempt in zip(bodies, (attempts[3], attempts[5]), strict=True):
        last = body["data"].pop("lastAttempt")
        assert (last["id"], last["responseStatusCode"]) == (attempt["id"], 503)
        assert body["data"] == {
            "appId": app_id, "appUid": "acme", "msgId": attempt["message_id"],
            "msgEventId": "order-1", "endpointId": endpoint_id, "endpointUid": None,
        }  # fmt: skip


async def test_a_success_after_four_failures_is_told_as_recovered(stage: Stage) -> None:
    world = stage.world
    stage.receiver.script("/flaky", sequence(*[answer(500)] * 4, answer(200)))
    app_id = await world.app()
    await world.endpoint(app_id, stage.receiver.url("/flaky"), policy=QUICK)
    await listening(
        world, stage.receiver.url("/operators"), event_types=["message.attempt.recovered"]
    )

    async with stage.dispatching():
        await publish(stage.bus, app_id)
        (body,) = await stage.heard(1)

    assert body["data"]["lastAttempt"]["responseStatusCode"] == 200


async def test_a_test_that_arrives_is_not_told_as_recovered(stage: Stage) -> None:
    world = stage.world
    stage.receiver.script("/flaky", sequence(*[answer(500)] * 4, answer(200)))
    app_id = await world.app()
    flaky = await world.endpoint(app_id, stage.receiver.url("/flaky"), policy=QUICK)
    well = await world.endpoint(app_id, stage.receiver.url("/well"), event_types=["none"])
    await listening(
        world, stage.receiver.url("/operators"), event_types=["message.attempt.recovered"]
    )

    async with stage.dispatching():
        await publish(stage.bus, app_id, headers={event.ENDPOINT: well, event.ONCE: "1"})
        await stage.receiver.wait_for(1, path="/well")
        await publish(stage.bus, app_id)
        (body,) = await stage.heard(1)

    assert body["data"]["endpointId"] == flaky


async def test_a_groups_first_letter_is_told_and_the_first_after_it_was_resolved(
    stage: Stage,
) -> None:
    world = stage.world
    stage.receiver.script("/down", sequence(answer(500), answer(500), answer(200), answer(500)))
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, stage.receiver.url("/down"), policy=[])
    await listening(
        world, stage.receiver.url("/operators"), event_types=["dead_letter.group_opened"]
    )

    async with stage.dispatching():
        for number in (1, 2):
            await publish(stage.bus, app_id)
            await world.settled(number)
        first, second = await world.letters()
        await world.pool.execute(
            "UPDATE dead_letter SET state = 'discarded' WHERE id = $1", first["id"]
        )
        await resend(world, stage.bus, second["message_id"])
        await eventually(lambda: _resolved(world.pool))
        await publish(stage.bus, app_id)
        bodies = await stage.heard(2)

    assert [body["data"]["reopened"] for body in bodies] == [False, True]
    assert {body["data"]["endpointId"] for body in bodies} == {endpoint_id}
    assert bodies[0]["data"]["letterId"] == first["id"]
    assert bodies[0]["data"]["errorClass"] == "http_5xx"


async def _resolved(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT bool_and(state = 'resolved') FROM dead_letter_group"))


async def test_a_thousand_letters_alike_open_one_group_and_tell_it_once(
    world: World, pool: Pool
) -> None:
    await listening(world, event_types=["dead_letter.group_opened"])
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    messages = await world.owe(app_id, endpoint_id, 1_000)

    await pool.execute(
        """INSERT INTO dead_letter (environment_id, app_id, id, message_id, endpoint_id, reason,
               event_type, content_type, url, fingerprint, attempts, message_at, parked_at,
               updated_at)
           SELECT $1, $2, 'dl_' || n, id, $3, 'exhausted', 'a.b', '', '', 'f', 1, now(), now(),
                  now()
           FROM unnest($4::text[]) WITH ORDINALITY AS m(id, n)""",
        world.environment_id, app_id, endpoint_id, messages,
    )  # fmt: skip

    assert len(await told(pool)) == 1


async def test_a_group_that_is_reopened_by_hand_is_not_told(world: World, pool: Pool) -> None:
    await listening(world)
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    await pool.execute(
        """INSERT INTO dead_letter_group (app_id, id, environment_id, endpoint_id, fingerprint,
               error_class, letter_id, first_seen_at, last_seen_at, state, state_at)
           VALUES ($2, 'dlg_1', $1, $3, 'f', 'dns', 'dl_1', now(), now(), 'resolved', now())""",
        world.environment_id, app_id, endpoint_id,
    )  # fmt: skip
    before = len(await told(pool))

    await pool.execute("UPDATE dead_letter_group SET state = 'open'")

    assert len(await told(pool)) == before


async def test_operators_hear_of_the_apps_that_their_channels_name(stage: Stage) -> None:
    world = stage.world
    stage.receiver.script("/gone", answer(410))
    apps = [await world.app(uid=uid) for uid in ("acme", "other")]
    for app_id in apps:
        await world.endpoint(app_id, stage.receiver.url("/gone"))
    wanted = ["endpoint.disabled"]
    await listening(world, stage.receiver.url("/by-uid"), event_types=wanted, channels=["acme"])
    await listening(world, stage.receiver.url("/by-id"), event_types=wanted, channels=[apps[1]])
    await listening(world, stage.receiver.url("/all"), event_types=wanted)

    async with stage.dispatching():
        for app_id in apps:
            await publish(stage.bus, app_id)
        everything = await stage.heard(2, "/all")
        (by_uid,) = await stage.heard(1, "/by-uid")
        (by_id,) = await stage.heard(1, "/by-id")
        await world.settled(6)

    assert {body["data"]["appId"] for body in everything} == set(apps)
    assert (by_uid["data"]["appId"], by_id["data"]["appId"]) == (apps[0], apps[1])


async def test_an_operational_endpoint_that_fails_is_parked_and_tells_nobody(stage: Stage) -> None:
    world = stage.world
    stage.receiver.script("/gone", answer(410))
    stage.receiver.script("/broken", answer(500))
    app_id = await world.app()
    await world.endpoint(app_id, stage.receiver.url("/gone"))
    broken = await listening(world, stage.receiver.url("/broken"), policy=[])

    async with stage.dispatching():
        await publish(stage.bus, app_id)
        await eventually(lambda: _parked(world.pool, broken, 1))
        await world.settled(2)

    letters = [row for row in await world.letters() if row["endpoint_id"] == broken]
    assert {row["app_id"] for row in letters} == {app_of(world.environment_id)}
    assert {row["environment_id"] for row in letters} == {None}
    assert {row["event_type"] for row in letters} <= {
        "endpoint.disabled", "message.attempt.exhausted", "dead_letter.group_opened",
    }  # fmt: skip
    about = [json.loads(row["payload"])["data"]["appId"] for row in letters]
    assert set(about) == {app_id}


async def _parked(pool: Pool, endpoint_id: str, number: int) -> bool:
    sql = "SELECT count(*) FROM dead_letter WHERE endpoint_id = $1"
    return bool(await pool.fetchval(sql, endpoint_id) >= number)


@pytest.mark.parametrize(
    ("wanted", "number"), [(["message.attempt.exhausted"], 1), (["endpoint.created"], 0)]
)
async def test_settling_writes_no_event_unless_somebody_wants_it(
    stage: Stage, wanted: list[str], number: int
) -> None:
    world = stage.world
    stage.receiver.script("/down", answer(500))
    app_id = await world.app()
    await world.endpoint(app_id, stage.receiver.url("/down"), policy=[])
    await listening(world, event_types=wanted, state="paused")

    async with stage.dispatching() as running:
        await eventually(lambda: running.dispatcher._interest.kinds() == frozenset(wanted))
        await publish(stage.bus, app_id)
        await world.settled(1)
        await eventually(lambda: _published(world.pool, number))


async def _published(pool: Pool, number: int) -> bool:
    sql = "SELECT count(*) FROM message WHERE event_type = 'message.attempt.exhausted'"
    return bool(await pool.fetchval(sql) == number)
