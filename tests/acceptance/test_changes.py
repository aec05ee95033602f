"""What is deleted or disabled gets nothing more; a change counts at once in every process."""

import asyncio
from secrets import token_hex

from svix.api import ApplicationOut, EndpointOut, EndpointPatch, MessageOut, MessageStatus

from tests.acceptance.world import OTHER_TYPE, TYPE, World, until
from tests.receiver import answer, sequence

BODY = b"{}"


async def _failed_once(
    world: World, path: str, *, waits_s: tuple[float, ...]
) -> tuple[ApplicationOut, EndpointOut, MessageOut]:
    """Have an endpoint that is owed a retry."""
    world.receiver.script(path, answer(500))
    app = await world.app()
    endpoint = await world.endpoint(app, path, waits_s=waits_s)
    message = await world.publish(app)
    await world.ended(app, endpoint, message.id, MessageStatus.SENDING)
    world.receiver.script(path, answer())
    return app, endpoint, message


async def test_a_deleted_endpoint_gets_no_new_message(world: World) -> None:
    app = await world.app()
    endpoint, other = await world.endpoint(app, "/deleted"), await world.endpoint(app, "/other")
    first = await world.publish(app)
    await world.ended(app, endpoint, first.id, MessageStatus.SUCCESS)

    await world.svix.endpoint.delete(app.id, endpoint.id)
    by_http = await world.publish(app, gate=1)
    await world.publish_on_nats(f"events.{app.id}.{TYPE}", BODY)

    by_nats, *_ = await world.messages(app, n=3)
    for message in (by_http, by_nats):
        await world.stands(app, message.id, {other.id: MessageStatus.SUCCESS})
    assert len(await world.receiver.wait_for(1, path="/deleted")) == 1


async def test_a_deleted_endpoint_gets_no_retry(world: World) -> None:
    app, endpoint, message = await _failed_once(world, "/deleted", waits_s=(1.0,))

    await world.gates[1].svix.endpoint.delete(app.id, endpoint.id)

    letter = await world.letter(app)
    assert (letter["reason"], letter["messageId"]) == ("endpoint_deleted", message.id)
    assert len(world.receiver.requests) == 1
    assert await world.standing(app, message.id) == {endpoint.id: MessageStatus.FAIL}


async def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled(world: World) -> None:
    app, endpoint, retried = await _failed_once(world, "/disabled", waits_s=(1.0,))

    await world.svix.endpoint.patch(app.id, endpoint.id, EndpointPatch(disabled=True))
    missed = await world.publish(app, gate=1)

    letter = await world.letter(app)
    assert (letter["reason"], letter["messageId"]) == ("endpoint_disabled", retried.id)
    await world.messages(app, n=2)
    assert await world.standing(app, missed.id) == {}
    assert len(world.receiver.requests) == 1

    await world.gates[1].svix.endpoint.patch(app.id, endpoint.id, EndpointPatch(disabled=False))
    message = await world.publish(app)

    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert [one.header("webhook-id") for one in world.receiver.requests] == [
        retried.id,
        message.id,
    ]


async def test_a_change_counts_for_the_next_event_through_any_gateway(world: World) -> None:
    app = await world.app()
    await world.event_types(TYPE, OTHER_TYPE)
    endpoint = await world.endpoint(app, "/0")
    wanted = {endpoint.id: MessageStatus.SUCCESS}

    for step in range(1, 9):
        one, other = world.gates[step % 2], (step + 1) % 2
        url = world.receiver.url(f"/{step}")
        event_types = [(TYPE, OTHER_TYPE)[step % 2]]
        await one.svix.endpoint.patch(
            app.id, endpoint.id, EndpointPatch(url=url, event_types=event_types)
        )
        message = await world.publish(app, event_type=event_types[0], gate=other)

        *_, came = await world.receiver.wait_for(step)
        assert (came.path, came.header("webhook-id")) == (f"/{step}", message.id)
        await world.stands(app, message.id, wanted)
    assert len(world.receiver.requests) == 8


async def test_a_new_endpoint_counts_for_the_next_event_on_nats(world: World) -> None:
    apps = [await world.app() for _ in range(6)]
    for app in apps:  # known to the dispatchers without an endpoint
        await world.publish(app)
        await world.messages(app, n=1)

    for number, app in enumerate(apps):
        await world.endpoint(app, f"/{number}")
        await world.publish_on_nats(f"events.{app.id}.{TYPE}", BODY)

    for number, _ in enumerate(apps):
        await world.receiver.wait_for(1, path=f"/{number}")


async def test_a_changed_url_counts_for_a_retry(world: World) -> None:
    app, endpoint, message = await _failed_once(world, "/old", waits_s=(1.0,))

    patch = EndpointPatch(url=world.receiver.url("/new"))
    await world.gates[1].svix.endpoint.patch(app.id, endpoint.id, patch)

    [came] = await world.receiver.wait_for(1, path="/new")
    assert came.header("webhook-id") == message.id
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})


async def test_a_retry_is_sent_at_once_when_it_is_asked_for(world: World) -> None:
    app, endpoint, message = await _failed_once(world, "/owed", waits_s=(600.0,))

    await world.svix.message_attempt.resend(app.id, message.id, endpoint.id)

    await world.receiver.wait_for(2)
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})


async def test_a_revoked_key_is_refused_by_every_gateway_within_a_second(world: World) -> None:
    elsewhere = await world.elsewhere()
    for gate in elsewhere.gates:
        assert (await gate.http.get("/api/v1/app")).status_code == 200
    keys = f"/api/v1/management/authentication/{elsewhere.environment_id}/api-token"
    [key] = (await world.http.get(keys)).json()["data"]
    expired = await world.gates[1].http.post(f"{keys}/{key['id']}/expire", json={})

    async def refused() -> bool:
        answers = [await gate.http.get("/api/v1/app") for gate in elsewhere.gates]
        return [one.status_code for one in answers] == [401, 401]

    assert expired.status_code == 204
    await until(refused, within_s=1)


async def test_a_deleted_app_is_gone_from_every_gateway_within_a_second(world: World) -> None:
    app = await world.app(f"gone-{token_hex(4)}")
    await world.endpoint(app, "/gone")
    for gate in world.gates:
        await gate.svix.message.list(app.id)

    await world.svix.application.delete(app.id)

    async def gone() -> bool:
        event = {"eventType": TYPE, "payload": {}}
        answers = await asyncio.gather(
            *(gate.http.post(f"/api/v1/app/{app.uid}/msg", json=event) for gate in world.gates)
        )
        return [one.status_code for one in answers] == [404, 404]

    await until(gone, within_s=1)
    assert world.receiver.requests == []


async def test_what_fails_for_one_endpoint_is_no_matter_to_the_others(world: World) -> None:
    app = await world.app()
    world.receiver.script("/failing", answer(500))
    world.receiver.script("/flaky", sequence(answer(500), answer()))
    endpoints = {
        path: await world.endpoint(app, path, waits_s=(0.2,))
        for path in ("/failing", "/flaky", "/well")
    }

    message = await world.publish(app)

    await world.stands(
        app,
        message.id,
        {
            endpoints["/failing"].id: MessageStatus.FAIL,
            endpoints["/flaky"].id: MessageStatus.SUCCESS,
            endpoints["/well"].id: MessageStatus.SUCCESS,
        },
    )
    assert sorted(one.path for one in world.receiver.requests) == [
        *["/failing"] * 2,
        *["/flaky"] * 2,
        "/well",
    ]
