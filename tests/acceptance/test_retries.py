"""A failing endpoint is retried on time, and in the end parked."""

import asyncio
import itertools

import pytest
from svix.api import ApplicationOut, EndpointOut, MessageOut, MessageStatus

from deploy.ports import first_free
from tests.acceptance.conftest import SCHEDULE_S, TIMEOUT_S
from tests.acceptance.world import World, verifies
from tests.receiver import (
    Behaviour,
    Received,
    Receiver,
    Writer,
    answer,
    close_without_answer,
    drip,
    hang,
    reset,
    sequence,
)

LATE_S = 1.0  # what a busy machine may add; the benchmark holds it to much less
JITTER = 0.1
KEPT_BYTES = 16_384
ENDLESS_BYTES = 64 * 1_048_576


async def _publish(
    world: World, path: str, behaviour: Behaviour, **fields: object
) -> tuple[ApplicationOut, EndpointOut, MessageOut]:
    world.receiver.script(path, behaviour)
    app = await world.app()
    endpoint = await world.endpoint(app, path, **fields)
    return app, endpoint, await world.publish(app)


def _gaps(came: list[Received]) -> list[float]:
    return [after.at - before.at for before, after in itertools.pairwise(came)]


async def test_a_failing_endpoint_is_retried_on_time_and_then_parked(world: World) -> None:
    app, endpoint, message = await _publish(world, "/failing", answer(500, body=b"broken"))

    letter = await world.letter(app)

    came = world.receiver.requests
    assert len(came) == len(SCHEDULE_S) + 1
    for gap, wait_s in zip(_gaps(came), SCHEDULE_S, strict=True):
        assert wait_s <= gap <= wait_s * (1 + JITTER) + LATE_S
    assert {one.header("webhook-id") for one in came} == {message.id}
    assert await world.standing(app, message.id) == {endpoint.id: MessageStatus.FAIL}
    assert (letter["messageId"], letter["endpointId"]) == (message.id, endpoint.id)
    assert (letter["reason"], letter["state"]) == ("exhausted", "parked")
    assert (letter["responseStatusCode"], letter["attempts"]) == (500, 3)
    attempts = await world.attempts(app, message.id, with_content=True)
    assert [one.response_status_code for one in attempts] == [500, 500, 500]
    assert {one.response for one in attempts} == {"broken"}


async def test_each_attempt_is_signed_anew_at_its_time(world: World) -> None:
    failing = sequence(answer(500), answer(503), answer(204))
    app, endpoint, message = await _publish(world, "/flaky", failing, waits_s=(0.2, 1.0))
    secret = (await world.svix.endpoint.get_secret(app.id, endpoint.id)).key

    came = await world.receiver.wait_for(3)

    assert all(verifies(one, secret) for one in came)
    assert len({one.header("webhook-signature") for one in came}) >= 2
    for one in came:
        assert 0 <= one.wall_s - int(one.header("webhook-timestamp") or 0) < 1 + LATE_S
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert await world.letters(app) == []


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_is_obeyed(world: World, status: int) -> None:
    busy = sequence(answer(status, {"Retry-After": "1"}), answer())
    app, endpoint, message = await _publish(world, "/busy", busy, waits_s=(0.1, 0.1))

    [gap] = _gaps(await world.receiver.wait_for(2))

    assert 1.0 <= gap <= 1.0 + LATE_S
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})


async def test_410_disables_the_endpoint(world: World) -> None:
    app, endpoint, message = await _publish(world, "/gone", answer(410))
    letter = await world.letter(app)
    await world.endpoint(app, "/other")

    after = await world.publish(app)

    await world.receiver.wait_for(1, path="/other")
    assert (letter["reason"], letter["attempts"]) == ("gone", 1)
    assert (await world.svix.endpoint.get(app.id, endpoint.id)).disabled
    assert await world.standing(app, message.id) == {endpoint.id: MessageStatus.FAIL}
    assert endpoint.id not in await world.standing(app, after.id)
    assert [one.path for one in world.receiver.requests] == ["/gone", "/other"]


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirection_is_a_failure_and_is_not_followed(world: World, status: int) -> None:
    elsewhere = world.receiver.url("/followed")
    moved = answer(status, {"Location": elsewhere})
    app, endpoint, message = await _publish(world, "/moved", moved, waits_s=(0.1,))

    letter = await world.letter(app)

    assert letter["responseStatusCode"] == status
    assert [one.path for one in world.receiver.requests] == ["/moved", "/moved"]
    assert await world.standing(app, message.id) == {endpoint.id: MessageStatus.FAIL}


@pytest.mark.parametrize(
    "behaviour",
    [
        hang(),
        drip(b"x" * 1000, start=b"HTTP/1.1 200 OK\r\nX-Slow: ", every_s=0.1),
        drip(b"x" * 1000, start=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", every_s=0.1),
    ],
    ids=["no-answer", "slow-headers", "slow-body"],
)
async def test_a_hanging_receiver_ends_at_the_total_deadline(
    world: World, behaviour: Behaviour
) -> None:
    app, endpoint, message = await _publish(
        world, "/slow", sequence(behaviour, answer()), waits_s=(0.1,)
    )

    [gap] = _gaps(await world.receiver.wait_for(2))

    assert TIMEOUT_S <= gap <= TIMEOUT_S + 0.1 * (1 + JITTER) + LATE_S
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    timed_out, _ = await world.attempts(app, message.id, with_content=True)
    assert timed_out.response_status_code == 0
    assert timed_out.response_duration_ms >= TIMEOUT_S * 1000 * 0.95


async def test_a_huge_response_is_cut(world: World) -> None:
    sent = 0
    over = asyncio.Event()

    async def endless(_: Received, writer: Writer) -> None:
        nonlocal sent
        await writer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ENDLESS_BYTES)
        while sent < ENDLESS_BYTES and await writer.send(b"x" * 65_536):
            sent += 65_536
        over.set()

    app, endpoint, message = await _publish(world, "/endless", endless)

    async with asyncio.timeout(TIMEOUT_S + LATE_S):
        await over.wait()
    assert sent < ENDLESS_BYTES
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    [attempt] = await world.attempts(app, message.id, with_content=True)
    assert attempt.response == "x" * KEPT_BYTES


@pytest.mark.parametrize("behaviour", [reset(), close_without_answer()], ids=["reset", "closed"])
async def test_a_broken_connection_is_a_failure(world: World, behaviour: Behaviour) -> None:
    app, endpoint, message = await _publish(
        world, "/broken", sequence(behaviour, answer()), waits_s=(0.1,)
    )

    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})

    failed, delivered = await world.attempts(app, message.id)
    assert (failed.response_status_code, failed.status) == (0, MessageStatus.FAIL)
    assert (delivered.response_status_code, delivered.status) == (200, MessageStatus.SUCCESS)


async def test_a_receiver_that_is_not_there_yet_gets_it_by_a_retry(world: World) -> None:
    app = await world.app()
    late = Receiver(port=first_free(()))
    endpoint = await world.endpoint(
        app, "/", url=late.url("/late"), waits_s=(0.2, 0.5, 1.0, 2.0, 4.0)
    )
    message = await world.publish(app)
    await world.ended(app, endpoint, message.id, MessageStatus.SENDING)

    async with late:
        await late.wait_for(1)

    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    refused, *_ = await world.attempts(app, message.id)
    assert refused.response_status_code == 0
