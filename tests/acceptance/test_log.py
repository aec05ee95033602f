"""The log: attempts and messages with status and next attempt, filters, and pages both ways."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from svix.api import (
    ApplicationOut,
    EndpointOut,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageAttemptOut,
    MessageGetOptions,
    MessageListOptions,
    MessageOut,
    MessageStatus,
    MessageStatusText,
    StatusCodeClass,
)

from tests.acceptance.world import OTHER_TYPE, TYPE, World, until
from tests.receiver import answer, raw, sequence
from tests.rows import another_moment

LIMIT = 3
WHOLE = MessageGetOptions(with_content=True)
Options = MessageAttemptListByEndpointOptions


async def _of_endpoint(
    world: World, app: ApplicationOut, endpoint: EndpointOut, **wanted: object
) -> list[MessageAttemptOut]:
    listed = world.svix.message_attempt.list_by_endpoint
    return (await listed(app.id, endpoint.id, Options(**wanted))).data


async def _walked(page_of: Callable[[str | None], Awaitable[Any]]) -> list[list[str]]:
    """Walk to the end and back; give the ids of the pages, and see that both ways agree."""
    page = await page_of(None)
    there = [page]
    while not page.done:
        page = await page_of(page.iterator)
        there.append(page)
    back = [page]
    while len(back) < len(there):
        page = await page_of(page.prev_iterator)
        back.append(page)
    assert page.done
    ids = [[one.id for one in page.data] for page in there]
    assert [[one.id for one in page.data] for page in back] == ids[::-1]
    return ids


async def test_pages_of_attempts_and_messages_go_both_ways(world: World) -> None:
    app = await world.app()
    world.receiver.script("/flaky", sequence(*[answer(500)] * 5, answer()))
    endpoint = await world.endpoint(app, "/flaky", waits_s=[0.05] * 5)
    messages = [await world.publish(app) for _ in range(7)]
    for message in messages:
        await world.ended(app, endpoint, message.id, MessageStatus.SUCCESS)
    log, newest_first = world.svix.message_attempt, sorted((m.id for m in messages), reverse=True)

    attempts = await _walked(
        lambda at: log.list_by_endpoint(app.id, endpoint.id, Options(limit=LIMIT, iterator=at))
    )
    by_app = await _walked(
        lambda at: world.svix.message.list(app.id, MessageListOptions(limit=LIMIT, iterator=at))
    )
    by_endpoint = await _walked(
        lambda at: log.list_attempted_messages(
            app.id,
            endpoint.id,
            MessageAttemptListAttemptedMessagesOptions(limit=LIMIT, iterator=at),
        )
    )

    assert [len(page) for page in attempts] == [3, 3, 3, 3]
    everything = [one for page in attempts for one in page]
    assert everything == sorted(everything, reverse=True)
    assert [len(page) for page in by_app] == [3, 3, 1]
    for pages in (by_app, by_endpoint):
        assert [one for page in pages for one in page] == newest_first


async def test_a_delivery_stands_as_the_reference_says(world: World) -> None:
    app = await world.app()
    for path, behaviour in (("/fail", answer(500)), ("/sending", answer(503))):
        world.receiver.script(path, behaviour)
    success = await world.endpoint(app, "/success")
    await another_moment()
    fail = await world.endpoint(app, "/fail", waits_s=())
    await another_moment()
    sending = await world.endpoint(app, "/sending", waits_s=(600.0,))
    before = datetime.now(UTC)

    message = await world.publish(app, {"amount": 12}, event_id="event-1", channels=["eu"])

    await world.stands(
        app,
        message.id,
        {
            success.id: MessageStatus.SUCCESS,
            fail.id: MessageStatus.FAIL,
            sending.id: MessageStatus.SENDING,
        },
    )
    found = (await world.svix.message_attempt.list_attempted_destinations(app.id, message.id)).data
    assert [one.id for one in found] == [success.id, fail.id, sending.id]
    assert [one.status_text for one in found] == [
        MessageStatusText.SUCCESS,
        MessageStatusText.FAIL,
        MessageStatusText.SENDING,
    ]
    assert [one.next_attempt is None for one in found] == [True, True, False]
    for endpoint, status in (
        (success, MessageStatus.SUCCESS),
        (fail, MessageStatus.FAIL),
        (sending, MessageStatus.SENDING),
    ):
        [one] = await world.every_message_of(app, endpoint)
        assert (one.id, one.status, one.event_id) == (message.id, status, "event-1")
        assert (one.next_attempt is None) == (status is not MessageStatus.SENDING)
        if one.next_attempt is not None:
            wait = one.next_attempt - before
            assert timedelta(seconds=600) <= wait <= timedelta(seconds=600 * 1.1 + 15)


async def test_messages_of_an_endpoint_are_found_by_status(world: World) -> None:
    app = await world.app()
    world.receiver.script("/mixed", sequence(answer(), answer(500), answer(500), answer()))
    endpoint = await world.endpoint(app, "/mixed", waits_s=())
    messages = []
    for _ in range(4):  # in turn: one script for all
        messages.append(await world.publish(app))
        await world.receiver.wait_for(len(messages))
    for message in messages:

        async def ended(message_id: str = message.id) -> bool:
            standing = await world.standing(app, message_id)
            return standing[endpoint.id] in (MessageStatus.SUCCESS, MessageStatus.FAIL)

        await until(ended)

    found = {}
    for status in MessageStatus:
        options = MessageAttemptListAttemptedMessagesOptions(status=status)
        page = await world.svix.message_attempt.list_attempted_messages(
            app.id, endpoint.id, options
        )
        found[status] = {one.id for one in page.data}

    first, second, third, fourth = (one.id for one in messages)
    assert found == {
        MessageStatus.SUCCESS: {first, fourth},
        MessageStatus.FAIL: {second, third},
        MessageStatus.PENDING: set(),
        MessageStatus.SENDING: set(),
        MessageStatus.CANCELED: set(),
    }


async def test_attempts_are_found_by_what_came_of_them(world: World) -> None:
    app, endpoint, messages = await _mixed_attempts(world)
    paid, voided = messages

    async def ids(**wanted: object) -> list[str]:
        return [one.msg_id for one in await _of_endpoint(world, app, endpoint, **wanted)]

    everything = await _of_endpoint(world, app, endpoint)
    assert [one.response_status_code for one in everything] == [404, 0, 200, 500]
    assert await ids(status=MessageStatus.SUCCESS) == [paid.id]
    assert await ids(status=MessageStatus.FAIL) == [voided.id, voided.id, paid.id]
    assert await ids(status=MessageStatus.PENDING) == []
    assert await ids(status_code_class=StatusCodeClass.CODE_NONE) == [voided.id]
    assert await ids(status_code_class=StatusCodeClass.CODE2XX) == [paid.id]
    assert await ids(status_code_class=StatusCodeClass.CODE4XX) == [voided.id]
    assert await ids(status_code_class=StatusCodeClass.CODE5XX) == [paid.id]
    assert await ids(event_types=[OTHER_TYPE]) == [voided.id, voided.id]
    assert await ids(event_types=[TYPE, OTHER_TYPE]) == [one.msg_id for one in everything]
    assert await ids(channel="eu") == [paid.id, paid.id]
    assert await ids(tag="big") == [voided.id, voided.id]
    second = everything[2]
    assert await ids(before=second.timestamp) == [paid.id]
    assert await ids(after=second.timestamp) == [voided.id, voided.id, paid.id]
    with_message = await _of_endpoint(world, app, endpoint, with_msg=True, limit=1)
    assert with_message[0].msg is not None
    assert (with_message[0].msg.id, with_message[0].msg.payload) == (voided.id, {})


async def _mixed_attempts(
    world: World,
) -> tuple[ApplicationOut, EndpointOut, tuple[MessageOut, MessageOut]]:
    """Have attempts answered 500, 200, with garbage, 404, of two messages."""
    app = await world.app()
    endpoint = await world.endpoint(app, "/mixed", waits_s=(0.05,))
    world.receiver.script("/mixed", sequence(answer(500), answer()))
    paid = await world.publish(app, channels=["eu"])
    await world.ended(app, endpoint, paid.id, MessageStatus.SUCCESS)
    await another_moment()

    garbage = raw(b"no HTTP at all\r\n\r\n", close=True)
    world.receiver.script("/mixed", sequence(garbage, answer(404, body=b"no such thing")))
    voided = await world.publish(app, event_type=OTHER_TYPE, tags=["big"])
    await world.ended(app, endpoint, voided.id, MessageStatus.FAIL)
    return app, endpoint, (paid, voided)


async def test_attempts_of_a_message_say_what_happened(world: World) -> None:
    app, endpoint, (_, voided) = await _mixed_attempts(world)
    other = await world.endpoint(app, "/other")
    await world.svix.message_attempt.resend(app.id, voided.id, other.id)
    await world.ended(app, other, voided.id, MessageStatus.SUCCESS)
    listed = world.svix.message_attempt.list_by_msg

    of_one = MessageAttemptListByMsgOptions(endpoint_id=endpoint.id, with_content=True)
    last, first = (await listed(app.id, voided.id, of_one)).data
    everything = (await listed(app.id, voided.id)).data

    assert (first.response_status_code, last.response_status_code) == (0, 404)
    assert (first.status_text, last.status_text) == (MessageStatusText.FAIL, MessageStatusText.FAIL)
    assert last.response == "no such thing"
    assert first.response
    assert last.url == world.receiver.url("/mixed")
    assert first.timestamp < last.timestamp
    assert {one.endpoint_id for one in everything} == {endpoint.id, other.id}
    assert {one.response for one in everything} == {""}
    assert await world.svix.message_attempt.get(app.id, voided.id, last.id) == last


async def test_contents_are_forgotten_on_request(world: World) -> None:
    app, endpoint, (_, voided) = await _mixed_attempts(world)
    last, *_ = await _of_endpoint(world, app, endpoint)

    await world.svix.message_attempt.expunge_content(app.id, voided.id, last.id)
    await world.svix.message.expunge_content(app.id, voided.id)

    attempt = await world.svix.message_attempt.get(app.id, voided.id, last.id)
    message = await world.gates[1].svix.message.get(app.id, voided.id, WHOLE)
    assert attempt.response == "EXPUNGED"
    assert message.payload == {"expired": True}
    letter = await world.letter(app)
    whole = (await world.http.get(f"/api/v1/app/{app.id}/dead-letter/{letter['id']}")).json()
    assert whole["payload"] == {"expired": True}
    assert "no such thing" not in str(whole)


async def test_messages_of_an_app_are_found_by_type_channel_tag_and_time(world: World) -> None:
    app = await world.app()
    first = await world.publish(app, channels=["eu"])
    await another_moment()
    second = await world.publish(app, event_type=OTHER_TYPE, tags=["big"])
    await another_moment()
    third = await world.publish(app, channels=["eu", "us"])
    await world.messages(app, n=3)

    async def ids(**wanted: object) -> list[str]:
        page = await world.svix.message.list(app.id, MessageListOptions(**wanted))
        return [one.id for one in page.data]

    assert await ids() == [third.id, second.id, first.id]
    assert await ids(event_types=[OTHER_TYPE]) == [second.id]
    assert await ids(channel="eu") == [third.id, first.id]
    assert await ids(tag="big") == [second.id]
    assert await ids(before=second.timestamp) == [first.id]
    assert await ids(after=second.timestamp) == [third.id, second.id]
    assert await ids(after=second.timestamp, before=third.timestamp) == [second.id]
