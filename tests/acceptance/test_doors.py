"""An event published by each door is delivered once to each matching endpoint and to no other."""

from collections.abc import Awaitable, Callable
from secrets import token_hex

import pytest
from svix.api import ApplicationOut, MessageStatus

from tests.acceptance.world import OTHER_TYPE, TYPE, World, until

BODY = b'{"amount": 12}'
CHANNEL = {"Hookline-Channels": "eu,vip"}
MATCHING = {
    "/everything": {},
    "/type": {"event_types": [TYPE, OTHER_TYPE]},
    "/channel": {"channels": ["eu", "us"]},
    "/type-and-channel": {"event_types": [TYPE], "channels": ["vip"]},
}
OTHERS = {
    "/other-type": {"event_types": [OTHER_TYPE]},
    "/other-channel": {"channels": ["us"]},
    "/type-but-other-channel": {"event_types": [TYPE], "channels": ["us"]},
    "/disabled": {"disabled": True},
}
Door = Callable[[World, ApplicationOut], Awaitable[object]]


async def http(world: World, app: ApplicationOut) -> None:
    await world.publish(app, {"amount": 12}, channels=["eu", "vip"])


async def http_by_uid(world: World, app: ApplicationOut) -> None:
    posted = await world.gates[1].http.post(
        f"/api/v1/app/{app.uid}/msg/",
        json={"eventType": TYPE, "payload": {"amount": 12}, "channels": ["eu", "vip"]},
    )
    assert posted.status_code == 202


async def nats(world: World, app: ApplicationOut) -> None:
    await world.publish_on_nats(f"events.{app.id}.{TYPE}", BODY, CHANNEL)


async def nats_by_uid(world: World, app: ApplicationOut) -> None:
    await world.publish_on_nats(f"events.{app.uid}.{TYPE}", BODY, CHANNEL)


async def cloud_event(world: World, app: ApplicationOut) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": token_hex(8),
        "ce-source": "/billing",
        "ce-type": TYPE,
        "ce-time": "2026-11-24T00:00:00Z",
    }
    await world.publish_on_nats(f"events.{app.id}.anything", BODY, {**headers, **CHANNEL})


async def nats_by_dotted_uid(world: World, app: ApplicationOut) -> None:
    headers = {"Hookline-App": app.uid or "", "Hookline-Event-Type": TYPE}
    await world.publish_on_nats("events._._", BODY, {**headers, **CHANNEL})


@pytest.mark.parametrize(
    ("door", "uid"),
    [
        (http, "acme"),
        (http_by_uid, "acme"),
        (nats, "acme"),
        (nats_by_uid, "acme"),
        (cloud_event, "acme"),
        (nats_by_dotted_uid, "acme.eu"),
    ],
)
async def test_an_event_reaches_each_matching_endpoint_once_and_no_other(
    world: World, door: Door, uid: str
) -> None:
    app, stranger = await world.app(f"{uid}-{token_hex(4)}"), await world.app()
    await world.event_types(TYPE, OTHER_TYPE)
    matching = [await world.endpoint(app, path, **fields) for path, fields in MATCHING.items()]
    for path, fields in OTHERS.items():
        await world.endpoint(app, path, **fields)
    await world.endpoint(stranger, "/stranger")

    await door(world, app)

    [message] = await world.messages(app, n=1)
    await world.stands(app, message.id, {one.id: MessageStatus.SUCCESS for one in matching})
    came = world.receiver.requests
    assert sorted(one.path for one in came) == sorted(MATCHING)
    assert {one.header("webhook-id") for one in came} == {message.id}
    assert {one.body.replace(b" ", b"") for one in came} == {BODY.replace(b" ", b"")}
    assert {one.header("content-type") for one in came} == {"application/json"}
    assert len(await world.attempts(app, message.id)) == len(MATCHING)
    assert (await world.svix.message.list(stranger.id)).data == []


async def test_an_event_on_nats_finds_an_app_of_another_environment_by_its_uid(
    world: World,
) -> None:
    elsewhere = await world.elsewhere()
    uid = f"acme-{token_hex(4)}"
    app, namesake = await elsewhere.app(uid), await world.app(uid)
    endpoint = await elsewhere.endpoint(app, "/elsewhere")
    await world.endpoint(namesake, "/default")
    headers = {"Hookline-Environment": elsewhere.environment_id or ""}

    await world.publish_on_nats(f"events.{uid}.{TYPE}", BODY, headers)

    [message] = await elsewhere.messages(app, n=1)
    await elsewhere.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert [one.path for one in world.receiver.requests] == ["/elsewhere"]
    assert (await world.svix.message.list(namesake.id)).data == []


OBJECTS = [
    b'{ "a" :1,\t"b":[ 1 , 2 ]\r\n}',
    b'{"k":1,"k":2,"k":{"k":3,"k":4}}',
    '{"é":"\\u00e9 é 🎉 \\ud83c\\udf89 \\/","":"\\u0000"}'.encode(),
    b'{"n":12345678901234567890123456789,"f":1.000000000000000000010,"e":1e-7,"z":-0.0}',
    b"{}",
]
VALUES = [b"[1, 2,\n3 ]", b' "text" ', b"null", b"1.10"]


async def test_json_bytes_arrive_exactly_as_they_were_published(world: World) -> None:
    app = await world.app()
    await world.endpoint(app, "/exact")
    subject = f"events.{app.id}.{TYPE}"

    for payload in OBJECTS:
        assert (await world.publish_bytes(app, payload)).status_code == 202
    for payload in (*OBJECTS, *VALUES):
        await world.publish_on_nats(subject, payload)

    wanted = sorted([*OBJECTS, *OBJECTS, *VALUES])
    came = await world.receiver.wait_for(len(wanted))
    assert sorted(one.body for one in came) == wanted


async def test_a_message_that_matches_nobody_is_stored_all_the_same(world: World) -> None:
    app = await world.app()
    await world.endpoint(app, "/other", channels=["us"])

    message = await world.publish(app, channels=["eu"])

    async def stored() -> bool:
        return [one.id for one in await world.messages(app, n=1)] == [message.id]

    assert await until(stored)
    assert await world.standing(app, message.id) == {}
