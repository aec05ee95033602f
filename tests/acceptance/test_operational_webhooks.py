"""Operators are told what becomes of endpoints: signed, and each thing once, whoever dies."""

import asyncio
import json
from collections import defaultdict

from svix.api import MessageAttemptListByEndpointOptions
from svix.models import OperationalWebhookEndpointIn

from tests.acceptance.world import World, until, verifies
from tests.receiver import answer

ENDPOINTS = 30
MESSAGES = 80


async def listening(world: World, path: str, *event_types: str) -> str:
    """Make an operational endpoint that leads to a path of the receiver; give its secret."""
    operational = world.svix.operational_webhook.endpoint
    made = await operational.create(
        OperationalWebhookEndpointIn(url=world.receiver.url(path), event_types=list(event_types))
    )
    return (await operational.get_secret(made.id)).key


async def test_an_operator_is_told_that_an_endpoint_was_disabled(world: World) -> None:
    world = await world.elsewhere()
    secret = await listening(world, "/operators", "endpoint.disabled")
    world.receiver.script("/gone", answer(410))
    app = await world.app()
    endpoint = await world.endpoint(app, "/gone")

    await world.publish(app)
    (told,) = await world.receiver.wait_for(1, path="/operators")

    assert verifies(told, secret)
    body = json.loads(told.body)
    assert (body["type"], body["data"]["appUid"]) == ("endpoint.disabled", app.uid)
    assert (body["data"]["endpointId"], body["data"]["reason"]) == (endpoint.id, "gone")


async def test_what_is_told_while_dispatchers_are_killed_is_told_once_for_each_endpoint(
    breakable_world: World,
) -> None:
    world = await breakable_world.elsewhere()
    await listening(world, "/operators", "endpoint.disabled")
    world.receiver.script("/gone", answer(410))
    app = await world.app()
    endpoints = [await world.endpoint(app, "/gone") for _ in range(ENDPOINTS)]
    told = defaultdict[str, set[str | None]](set)

    async def look() -> bool:
        for request in world.receiver.requests:
            if request.path == "/operators":
                about = json.loads(request.body)["data"]["endpointId"]
                told[about].add(request.header("webhook-id"))
        return len(told) == ENDPOINTS

    await world.publish(app)
    for name in ("dispatcher-1", "dispatcher-2") * 2:
        await asyncio.sleep(0.3)
        await world.here.kill(name)
        await world.here.start(name)
    await until(look, within_s=60)

    assert told.keys() == {endpoint.id for endpoint in endpoints}
    assert {len(messages) for messages in told.values()} == {1}


async def test_the_log_has_each_attempt_once_while_dispatchers_are_killed(
    breakable_world: World,
) -> None:
    world = await breakable_world.elsewhere()
    dispatchers = ("dispatcher-1", "dispatcher-2")
    for name in dispatchers:
        await world.here.kill(name)  # whoever starts from now on knows that the log is wanted
    await listening(world, "/log", "message.attempt.log")
    app = await world.app()
    endpoint = await world.endpoint(app, "/hook")
    told = defaultdict[str, set[str | None]](set)

    async def look() -> bool:
        for request in world.receiver.requests:
            if request.path == "/log":
                for line in json.loads(request.body)["data"]:
                    told[line["attemptId"]].add(request.header("webhook-id"))
        options = MessageAttemptListByEndpointOptions(limit=250)
        page = await world.svix.message_attempt.list_by_endpoint(app.id, endpoint.id, options)
        return len(page.data) >= MESSAGES and told.keys() == {made.id for made in page.data}

    for name in dispatchers * 2:
        await world.here.start(name)
        await asyncio.gather(*[world.publish(app) for _ in range(MESSAGES // 4)])
        await asyncio.sleep(0.3)
        await world.here.kill(name)
    for name in dispatchers:
        await world.here.start(name)
    await until(look, within_s=60)

    assert {len(messages) for messages in told.values()} == {1}
