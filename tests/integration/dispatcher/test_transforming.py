"""Endpoints' code makes the requests: what is sent, what is not, and what becomes of deliveries."""

import base64
import json
import os
import signal
from collections.abc import Mapping

import asyncpg
import pytest
from nats.aio.client import Client
from standardwebhooks.webhooks import Webhook

from schema import event
from schema.endpoint import secret_context
from schema.transformation import variables_context
from tests.dispatching import (
    VAULT,
    World,
    dispatching,
    publish,
    resend,
)
from tests.receiver import Receiver, answer
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")

AS_IT_IS = "function handler(w) { return w; }"


async def transform(
    world: World,
    app_id: str,
    endpoint_id: str,
    code: str | None,
    *,
    enabled: bool = True,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Give an endpoint code, as the gateway does."""
    sealed = None
    if variables is not None:
        context = variables_context(app_id, endpoint_id)
        sealed = VAULT.seal(json.dumps(variables).encode(), context=context)
    await world.pool.execute(
        """INSERT INTO endpoint_transformation VALUES ($1, $2, $3, $4, $5, now())
           ON CONFLICT (app_id, endpoint_id) DO UPDATE
           SET code = excluded.code, enabled = excluded.enabled""",
        *(app_id, endpoint_id, code, enabled, sealed),
    )


async def a_lane(
    world: World, receiver: Receiver, code: str | None, **given: object
) -> tuple[str, str]:
    """Make an app with an endpoint that has code; give both ids."""
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/in"))
    await transform(world, app_id, endpoint_id, code, **given)
    return app_id, endpoint_id


async def came_of(
    world: World, services: Services, bus: Client, receiver: Receiver, code: str
) -> asyncpg.Record:
    """Have code make the request of one message whose attempt fails; give the attempt."""
    app_id, _ = await a_lane(world, receiver, code)
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await world.settled(1)
    return (await world.attempts())[0]


async def secret_of(world: World, app_id: str, endpoint_id: str) -> bytes:
    sealed = await world.pool.fetchval(
        "SELECT sealed FROM endpoint_secret WHERE endpoint_id = $1", endpoint_id
    )
    return VAULT.open(sealed, context=secret_context(app_id, endpoint_id))


async def test_code_makes_the_request_and_what_is_signed_is_what_it_made(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    code = """
        function handler(webhook) {
          webhook.method = "PUT";
          webhook.url = webhook.url.replace("/in", "/else?of=" + webhook.eventType);
          webhook.headers = {"X-Token": webhook.variables.token, "Content-Type": "text/csv"};
          const { channels, transformationsParams, payload } = webhook;
          webhook.payload = JSON.stringify([channels, transformationsParams, payload.hello]);
          return webhook;
        }
    """
    app_id, endpoint_id = await a_lane(world, receiver, code, variables={"token": "s3cret"})
    headers = {event.CHANNELS: "eu,us", event.PARAMS: '{"colour":"red"}'}
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id, headers=headers)
        [came] = await receiver.wait_for(1)
        assert await world.settled(1) == {"delivered": 1}

    assert (came.method, came.target) == ("PUT", "/else?of=a.b")
    assert json.loads(came.body) == [["eu", "us"], {"colour": "red"}, "world"]
    assert came.header("x-token") == "s3cret"
    assert came.header("content-type") == "text/csv"
    assert came.header("user-agent") == "Hookline/0.1"
    secret = await secret_of(world, app_id, endpoint_id)
    Webhook(base64.b64encode(secret).decode()).verify(came.body, dict(came.headers))
    [attempt] = await world.attempts()
    assert attempt["url"] == receiver.url("/else?of=a.b")
    assert came.header("webhook-id") == attempt["message_id"]


async def test_the_headers_of_the_endpoint_stay_unless_code_sets_them(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    code = 'function handler(w) { w.headers = {"x-one": "code\'s"}; return w; }'
    app_id, endpoint_id = await a_lane(world, receiver, code)
    own = {"X-One": "the endpoint's", "X-Two": "the endpoint's"}
    await world.pool.execute(
        "UPDATE endpoint SET headers = $2 WHERE id = $1",
        endpoint_id,
        VAULT.seal(json.dumps(own).encode(), context=secret_context(app_id, endpoint_id)),
    )
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        [came] = await receiver.wait_for(1)

    assert (came.header("x-one"), came.header("x-two")) == ("code's", "the endpoint's")


async def test_what_code_calls_off_is_cancelled_without_an_attempt(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    code = "function handler(w) { w.cancel = w.payload.n > 1; return w; }"
    app_id, _ = await a_lane(world, receiver, code)
    async with dispatching(world.pool, services.nats_url):
        for number in (1, 2, 3):
            await publish(bus, app_id, body=b'{"n": %d}' % number)

        assert await world.settled(3) == {"delivered": 1, "cancelled": 2}

    reasons = await world.pool.fetch("SELECT reason FROM delivery WHERE state = 'cancelled'")
    assert [row["reason"] for row in reasons] == ["transformation"] * 2
    assert len(receiver.requests) == len(await world.attempts()) == 1


async def test_a_letter_that_code_calls_off_when_it_is_sent_again_is_parked_again(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    receiver.script("/in", answer(410))
    app_id, endpoint_id = await a_lane(world, receiver, AS_IT_IS)
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await world.settled(1)
        [letter] = await world.letters()
        await transform(world, app_id, endpoint_id, "function handler(w) { return {cancel: true} }")
        await world.set_state(endpoint_id, "active")
        await resend(world, bus, letter["message_id"])

        assert await world.settled(1) == {"cancelled": 1}

    assert [row["state"] for row in await world.letters()] == ["parked"]
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("code", "fault", "detail"),
    [
        (
            "function handler(w) {\n  return w.payload.no.where;\n}",
            "transformation",
            "TypeError: cannot read property 'where' of undefined (line 2)",
        ),
        (
            "function handler(w) { for (;;) {} }",
            "transformation",
            "the code took longer than 100 ms",
        ),
        (
            'function handler(w) { w.method = "GET"; return w; }',
            "transformation",
            "what the code returned cannot be sent: its method must be POST, PUT or PATCH",
        ),
        (
            'function handler(w) { w.headers = {"Webhook-Id": "mine"}; return w; }',
            "transformation",
            "what the code returned cannot be sent: its headers: the header Webhook-Id is reserved",
        ),
        (
            'function handler(w) { w.headers = {"a": "b\\r\\nc: d"}; return w; }',
            "transformation",
            (
                "what the code returned cannot be sent: its headers: the value of a must be at most"
                " 4096 plain characters"
            ),
        ),
        (
            'function handler(w) { w.url = "http://169.254.169.254/latest"; return w; }',
            "blocked",
            "the URL that the code returned: Address not allowed.",
        ),
        (
            'function handler(w) { w.url = "http://[::1]:9000/"; return w; }',
            "blocked",
            "the URL that the code returned: Address not allowed.",
        ),
        (
            'function handler(w) { w.url = "file:///etc/passwd"; return w; }',
            "blocked",
            "the URL that the code returned: The URL must begin with https or http.",
        ),
        (
            'function handler(w) { w.url = "http://10.0.0.1.example.com/"; return w; }',
            "dns",
            "",
        ),
    ],
)
async def test_an_attempt_that_code_fails_tells_how_and_is_made_again(
    world: World,
    services: Services,
    bus: Client,
    receiver: Receiver,
    *,
    code: str,
    fault: str,
    detail: str,
) -> None:
    attempt = await came_of(world, services, bus, receiver, code)

    assert attempt["fault"] == fault
    assert attempt["detail"] == detail or not detail
    assert attempt["verdict"] == "retry"
    assert len(await world.attempts()) == 3
    [letter] = await world.letters()
    assert letter["error_class"] == fault
    assert receiver.requests == []


async def test_each_attempt_runs_the_code_of_its_time(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    receiver.script("/in", answer(503))
    code = 'function handler(w) { w.payload = "old"; return w; }'
    app_id, endpoint_id = await a_lane(world, receiver, code)
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await receiver.wait_for(1)
        await transform(world, app_id, endpoint_id, code.replace("old", "new"))
        receiver.script("/in", answer(200))
        await world.settled(1)
        await transform(world, app_id, endpoint_id, code, enabled=False)
        await publish(bus, app_id)  # counts at once: the intake asks for all changes before
        await world.settled(2)

    bodies = [came.body for came in receiver.requests]
    assert bodies[0] == b"old"
    assert bodies[-2:] == [b"new", b'{"hello": "world"}']


async def test_code_that_fails_or_calls_off_says_nothing_about_the_health_of_its_endpoint(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    code = """
        function handler(w) {
          if (w.payload.bad) throw Error("bad");
          return { ...w, cancel: w.payload.off === true };
        }
    """
    receiver.script("/in", answer(503))
    app_id, endpoint_id = await a_lane(world, receiver, code)
    async with dispatching(
        world.pool, services.nats_url, failing_after=3, probe_gap_s=0.05
    ) as running:
        for _ in range(3):
            await publish(bus, app_id, body=b'{"bad": true}')
        await world.settled(3)
        lane = running.dispatcher._lanes.get(app_id, endpoint_id)
        assert lane is not None
        assert not lane.health.failing

        await publish(bus, app_id)
        await world.settled(4)
        assert lane.health.failing
        await publish(bus, app_id, body=b'{"bad": true}')
        await publish(bus, app_id, body=b'{"off": true}')
        await world.settled(6)
        assert lane.health.failing


async def test_a_transformer_that_is_killed_costs_one_attempt_at_most(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    app_id, _ = await a_lane(world, receiver, AS_IT_IS)
    async with dispatching(world.pool, services.nats_url) as running:
        await publish(bus, app_id)
        await receiver.wait_for(1)
        await world.settled(1)
        pids = running.dispatcher._shaper.sandbox.pids
        for pid in list(pids):
            os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            await publish(bus, app_id)

        assert await world.settled(4) == {"delivered": 4}

    faults = [row["fault"] for row in await world.attempts() if row["fault"]]
    assert faults in ([], ["transformation"])  # it may have been noticed before


async def test_an_endpoint_without_code_asks_nobody(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    app_id, _ = await a_lane(world, receiver, None)
    async with dispatching(world.pool, services.nats_url) as running:
        await publish(bus, app_id)
        assert await world.settled(1) == {"delivered": 1}

        assert running.dispatcher._shaper.sandbox.pids == set()
