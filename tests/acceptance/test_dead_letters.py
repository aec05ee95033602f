"""A dead letter can be redelivered, with its message id and its history, or discarded."""

from typing import Any

import pytest
from svix.api import (
    ApplicationOut,
    EndpointOut,
    EndpointPatch,
    MessageAttemptTriggerType,
    MessageOut,
    MessageStatus,
)
from svix.exceptions import HttpError

from tests.acceptance.world import World, until, verifies
from tests.receiver import answer

PAYLOAD = {"amount": 12}


async def _parked(
    world: World, path: str
) -> tuple[ApplicationOut, EndpointOut, MessageOut, dict[str, Any]]:
    world.receiver.script(path, answer(500, body=b"broken"))
    app = await world.app()
    endpoint = await world.endpoint(app, path, waits_s=(0.1,))
    message = await world.publish(app, PAYLOAD, event_id="event-1", channels=["eu"])
    return app, endpoint, message, await world.letter(app)


def _url(app: ApplicationOut, letter: dict[str, Any], verb: str = "") -> str:
    return f"/api/v1/app/{app.id}/dead-letter/{letter['id']}{verb}"


async def test_a_dead_letter_holds_all_that_is_needed(world: World) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")

    whole = (await world.http.get(_url(app, letter))).json()

    assert whole.items() >= letter.items()
    assert whole["payload"] == PAYLOAD
    assert whole["response"] == "broken"
    assert (whole["messageId"], whole["endpointId"]) == (message.id, endpoint.id)
    assert (whole["eventId"], whole["channels"]) == ("event-1", ["eu"])
    assert (whole["state"], whole["reason"]) == ("parked", "exhausted")
    assert whole["url"] == world.receiver.url("/dead")


async def test_redelivery_succeeds_with_the_same_message_id_and_keeps_the_history(
    world: World,
) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")
    secret = (await world.svix.endpoint.get_secret(app.id, endpoint.id)).key
    world.receiver.script("/dead", answer())

    answered = await world.http.post(_url(app, letter, "/redeliver"))

    assert answered.status_code == 202
    first, second, third = await world.receiver.wait_for(3)
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert {one.header("webhook-id") for one in (first, second, third)} == {message.id}
    assert first.body == third.body
    assert verifies(third, secret)
    attempts = await world.attempts(app, message.id)
    assert [one.response_status_code for one in attempts] == [500, 500, 200]
    scheduled, manual = MessageAttemptTriggerType.SCHEDULED, MessageAttemptTriggerType.MANUAL
    assert [one.trigger_type for one in attempts] == [scheduled, scheduled, manual]
    assert await world.letters(app) == []
    assert (await world.letter(app, state="redelivered"))["id"] == letter["id"]


async def test_a_redelivery_that_fails_has_a_schedule_of_its_own_and_is_parked_again(
    world: World,
) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")

    answered = await world.http.post(_url(app, letter, "/redeliver"))

    assert answered.status_code == 202
    await world.receiver.wait_for(4)
    await world.ended(app, endpoint, message.id, MessageStatus.FAIL)
    again = await world.letter(app)
    assert again["id"] == letter["id"]
    assert (again["state"], again["attempts"]) == ("parked", 4)
    assert again["parkedAt"] > letter["parkedAt"]
    assert len(world.receiver.requests) == 4


async def test_a_discarded_letter_is_given_up_for_good(world: World) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")

    answered = await world.http.post(_url(app, letter, "/discard"))

    assert answered.status_code == 204
    assert await world.letters(app) == []
    assert (await world.letter(app, state="discarded"))["id"] == letter["id"]
    assert (await world.http.post(_url(app, letter, "/discard"))).status_code == 400
    assert await world.standing(app, message.id) == {endpoint.id: MessageStatus.FAIL}


async def test_a_letter_of_a_disabled_endpoint_waits_until_it_is_enabled(world: World) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")
    world.receiver.script("/dead", answer())
    await world.svix.endpoint.patch(app.id, endpoint.id, EndpointPatch(disabled=True))

    refused = await world.http.post(_url(app, letter, "/redeliver"))

    assert (refused.status_code, refused.json()["code"]) == (400, "endpoint_disabled")

    await world.svix.endpoint.patch(app.id, endpoint.id, EndpointPatch(disabled=False))
    accepted = await world.http.post(_url(app, letter, "/redeliver"))

    assert accepted.status_code == 202
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})


async def test_a_letter_with_a_mended_payload_is_a_new_message_for_its_endpoint_alone(
    world: World,
) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")
    await world.endpoint(app, "/other")
    world.receiver.script("/dead", answer())

    answered = await world.http.post(
        _url(app, letter, "/reissue"), json={"payload": {"amount": 13}, "eventType": "mended"}
    )

    assert answered.status_code == 202
    new_id = answered.json()["id"]
    await world.stands(app, new_id, {endpoint.id: MessageStatus.SUCCESS})
    [came] = [one for one in world.receiver.requests if one.header("webhook-id") == new_id]
    assert (came.path, came.body) == ("/dead", b'{"amount":13}')
    whole = (await world.http.get(_url(app, letter))).json()
    shown = (await world.http.get(f"/api/v1/app/{app.id}/msg/{new_id}")).json()
    old = (await world.http.get(f"/api/v1/app/{app.id}/msg/{message.id}")).json()
    assert (whole["state"], whole["payload"], whole["reissuedAs"]) == ("parked", PAYLOAD, [new_id])
    assert shown["madeOf"] == {"letterId": letter["id"], "messageId": message.id}
    assert (shown["eventType"], shown["payload"]) == ("mended", {"amount": 13})
    assert (old["payload"], old["madeOf"]) == (PAYLOAD, None)
    await world.stands(app, message.id, {endpoint.id: MessageStatus.FAIL})


async def test_letters_are_listed_in_pages_and_by_what_they_are(world: World) -> None:
    app, endpoint, _, first = await _parked(world, "/dead")
    world.receiver.script("/gone", answer(410))
    gone = await world.endpoint(app, "/gone", channels=["gone"])
    await world.publish(app, channels=["gone"])
    await world.publish(app, event_type="other")

    async def all_parked() -> bool:
        return len(await world.letters(app)) == 4

    await until(all_parked)
    pages = [await world.letters(app, limit="2")]
    pages.append(await world.letters(app, limit="2", iterator=pages[0][-1]["id"]))

    assert [*pages[0], *pages[1]] == await world.letters(app)
    assert pages[1][-1]["id"] == first["id"]
    back = await world.letters(app, limit="2", iterator=f"-{pages[1][0]['id']}")
    assert back == pages[0]
    assert {one["endpointId"] for one in await world.letters(app, reason="gone")} == {gone.id}
    assert len(await world.letters(app, endpoint_id=endpoint.id)) == 3
    assert [one["eventType"] for one in await world.letters(app, event_types="other")] == ["other"]
    assert len(await world.letters(app, status_code_class="500")) == 3


async def test_a_delivered_message_can_be_sent_again(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/again")
    message = await world.publish(app, PAYLOAD)
    await world.ended(app, endpoint, message.id, MessageStatus.SUCCESS)

    await world.svix.message_attempt.resend(app.id, message.id, endpoint.id)

    first, second = await world.receiver.wait_for(2)
    assert first.header("webhook-id") == second.header("webhook-id") == message.id
    assert first.body == second.body
    await world.ended(app, endpoint, message.id, MessageStatus.SUCCESS)


async def test_a_message_can_be_sent_to_an_endpoint_that_it_did_not_match(world: World) -> None:
    app = await world.app()
    message = await world.publish(app, PAYLOAD, channels=["eu"])
    endpoint = await world.endpoint(app, "/us", channels=["us"])

    await world.gates[1].svix.message_attempt.resend(app.id, message.id, endpoint.id)

    [came] = await world.receiver.wait_for(1)
    assert came.header("webhook-id") == message.id
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})


async def test_what_was_delivered_stays_so_when_it_fails_the_second_time(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/again")
    message = await world.publish(app, PAYLOAD)
    await world.ended(app, endpoint, message.id, MessageStatus.SUCCESS)
    world.receiver.script("/again", answer(500))

    await world.svix.message_attempt.resend(app.id, message.id, endpoint.id)

    await world.receiver.wait_for(2)
    await world.ended(app, endpoint, message.id, MessageStatus.SUCCESS)
    assert [one.response_status_code for one in await world.attempts(app, message.id)] == [200, 500]
    assert await world.letters(app) == []


async def test_a_message_without_its_payload_cannot_be_sent_again(world: World) -> None:
    app, endpoint, message, letter = await _parked(world, "/dead")
    await world.svix.message.expunge_content(app.id, message.id)

    with pytest.raises(HttpError) as caught:
        await world.svix.message_attempt.resend(app.id, message.id, endpoint.id)
    refused = await world.http.post(_url(app, letter, "/redeliver"))

    assert (caught.value.status_code, caught.value.code) == (400, "missing_payload")
    assert (refused.status_code, refused.json()["code"]) == (400, "missing_payload")
