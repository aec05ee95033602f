"""The same event id twice is one message; a message just accepted can be read at once."""

import asyncio
from collections import Counter

import pytest
from svix.api import MessageGetOptions, MessageStatus
from svix.exceptions import HttpError

from tests.acceptance.world import TYPE, World, until

BODY = b'{"amount": 12}'
WHOLE = MessageGetOptions(with_content=True)


async def test_the_same_event_id_twice_by_http_is_409(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/once")
    message = await world.publish(app, event_id="event-1")

    refused = []
    for gate in (0, 1, 0, 1):
        with pytest.raises(HttpError) as caught:
            await world.publish(app, {"other": True}, event_id="event-1", gate=gate)
        refused.append((caught.value.status_code, caught.value.code))

    assert refused == [(409, "conflict")] * 4
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert len(world.receiver.requests) == 1


async def test_of_the_same_event_id_at_the_same_time_one_is_accepted(world: World) -> None:
    app = await world.app()
    path = f"/api/v1/app/{app.id}/msg"
    event = {"eventType": TYPE, "payload": {}, "eventId": "event-1"}

    answers = await asyncio.gather(
        *(world.gates[n % 2].http.post(path, json=event) for n in range(12))
    )

    assert Counter(one.status_code for one in answers) == {202: 1, 409: 11}
    await world.messages(app, n=1)


async def test_the_same_event_id_belongs_to_another_message_in_another_app(world: World) -> None:
    app, other = await world.app(), await world.app()

    first = await world.publish(app, event_id="event-1")
    second = await world.publish(other, event_id="event-1")

    assert first.id != second.id


async def test_the_same_event_id_twice_on_nats_is_one_message(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/once")
    subject = f"events.{app.id}.{TYPE}"

    for header in ("Hookline-Event-Id", "Hookline-Event-Id", "ce-id"):
        await world.publish_on_nats(subject, BODY, {header: "event-1"})
    await world.publish_on_nats(subject, BODY, {"Hookline-Event-Id": "event-2"})

    messages = await world.messages(app, n=2)
    assert {message.event_id for message in messages} == {"event-1", "event-2"}
    for message in messages:
        await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert len(world.receiver.requests) == 2


async def test_an_event_id_taken_by_one_door_is_taken_by_the_other(world: World) -> None:
    app = await world.app()
    subject = f"events.{app.id}.{TYPE}"
    await world.publish(app, event_id="by-http")
    await world.publish_on_nats(subject, BODY, {"Hookline-Event-Id": "by-nats"})
    await world.messages(app, n=2)

    with pytest.raises(HttpError) as caught:
        await world.publish(app, event_id="by-nats")
    await world.publish_on_nats(subject, BODY, {"Hookline-Event-Id": "by-http"})
    await world.publish_on_nats(subject, BODY, {"Hookline-Event-Id": "last"})

    assert caught.value.status_code == 409
    messages = await world.messages(app, n=3)
    assert {message.event_id for message in messages} == {"by-http", "by-nats", "last"}


async def test_a_message_just_accepted_can_be_read_at_once(world: World) -> None:
    app = await world.app()

    for number in range(20):
        message = await world.publish(app, {"number": number}, event_id=f"event-{number}")
        by_id, by_event_id, elsewhere = await asyncio.gather(
            world.svix.message.get(app.id, message.id, WHOLE),
            world.svix.message.get(app.id, f"event-{number}", WHOLE),
            world.gates[1].svix.message.get(app.id, message.id, WHOLE),
        )

        assert by_id == by_event_id == elsewhere
        assert by_id == message.model_copy(update={"payload": {"number": number}})


async def test_without_a_dispatcher_a_message_is_accepted_read_and_refused_twice(
    breakable_world: World,
) -> None:
    world = breakable_world
    app = await world.app()
    endpoint = await world.endpoint(app, "/later")
    await world.here.stop("dispatcher-1")
    await world.here.stop("dispatcher-2")

    message = await world.publish(app, {"amount": 12}, event_id="event-1")
    read = [await gate.svix.message.get(app.id, message.id) for gate in world.gates]
    with pytest.raises(HttpError) as caught:
        await world.publish(app, event_id="event-1", gate=1)

    assert read == [message, message]
    assert caught.value.status_code == 409
    assert world.receiver.requests == []

    await world.here.start("dispatcher-1")

    await world.receiver.wait_for(1, timeout=20)
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})

    async def listed() -> bool:
        return [one.id for one in await world.messages(app, n=1)] == [message.id]

    assert await until(listed)
