"""Publishing over HTTP with the official client, on a real stream and a real Postgres."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    MessageCreateOptions,
    MessageGetOptions,
    MessageIn,
    SvixAsync,
)
from svix.exceptions import HttpError, HTTPValidationError

from schema import event, ids
from schema.api_key import KeyKind
from schema.event import read_event
from schema.store.link import Pool
from tests import rows
from tests.gateway_server import CONFIG, PAYLOADS, Gateway, make_key, serve

WITH_CONTENT = MessageCreateOptions(with_content=True)
READ_CONTENT = MessageGetOptions(with_content=True)


pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")


@lent_to_the_module
async def other(pool: Pool, bus: Client) -> AsyncIterator[Gateway]:
    """Lend another gateway on the same Postgres and NATS."""
    async with serve(pool, bus) as running:
        yield running


@lent_to_a_test
async def app_id(svix: SvixAsync) -> str:
    made = await svix.application.create(ApplicationIn(name="One", uid="one"))
    return made.id


def ahead(by: timedelta) -> datetime:
    return rows.now() + by


async def last_event(bus: Client) -> event.Event:
    """Give what was published last, as an intake reads it."""
    jetstream = bus.jetstream()
    state = (await jetstream.stream_info(event.STREAM)).state
    found = await jetstream.get_msg(event.STREAM, state.last_seq, direct=True)
    return event.Event(
        subject=found.subject or "",
        headers=found.headers or {},
        body=found.data or b"",
        sequence=found.seq or 0,
        at=rows.now(),
    )


async def number_of_events(bus: Client, app_id: str) -> int:
    info = await bus.jetstream().stream_info(event.STREAM, subjects_filter=f"shard.*.{app_id}.>")
    return sum((info.state.subjects or {}).values())


async def refused(call: object, status: int, code: str) -> None:
    with pytest.raises(HttpError) as raised:
        await call
    assert (raised.value.status_code, raised.value.code) == (status, code)


async def test_a_message_is_accepted_and_lies_on_the_stream_as_the_intake_expects_it(
    svix: SvixAsync, app_id: str, bus: Client
) -> None:
    made = await svix.message.create(
        "one",
        MessageIn(
            event_type="user.created",
            payload={"n": 1},
            event_id="e-1",
            channels=["a", "b:c+d"],
            tags=["t/1", "t#2"],
        ),
        WITH_CONTENT,
    )

    draft = read_event(await last_event(bus), max_bytes=1000)
    assert isinstance(draft, event.Draft)
    assert (draft.message_id, draft.app, draft.event_type) == (made.id, app_id, "user.created")
    assert (draft.event_id, draft.channels, draft.tags) == ("e-1", ("a", "b:c+d"), ("t/1", "t#2"))
    assert json.loads(draft.body) == {"n": 1} == made.payload
    assert draft.by_gateway
    assert made.timestamp == ids.time_of(made.id)
    assert (made.channels, made.tags, made.event_id) == (["a", "b:c+d"], ["t/1", "t#2"], "e-1")


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", ["payload", "data"])
async def test_the_bytes_of_a_payload_are_published_and_shown_as_they_came(
    gateway: Gateway, app_id: str, bus: Client, payload: bytes, name: str
) -> None:
    body = b'{ "eventType": "a.b",\n "%b" : %b , "other": ["}"] }' % (name.encode(), payload)

    answer = await gateway.http().post(f"/api/v1/app/{app_id}/msg", content=body)
    read = await gateway.http().get(f"/api/v1/app/{app_id}/msg/{answer.json()['id']}")

    assert answer.status_code == 202
    assert (await last_event(bus)).body == payload
    assert b'"payload":' + payload in answer.content
    assert b'"payload":' + payload in read.content


async def test_without_content_the_payload_is_an_empty_object(svix: SvixAsync, app_id: str) -> None:
    made = await svix.message.create(app_id, MessageIn(event_type="a", payload={"n": 1}))

    read = await svix.message.get(app_id, made.id)

    assert made.payload == read.payload == {}


@pytest.mark.parametrize("event_type", ["a", "a.b.c", "a..b", ".a", "a.", "A_-9", "x" * 256])
async def test_any_event_type_arrives_as_it_was_named(
    svix: SvixAsync, app_id: str, bus: Client, event_type: str
) -> None:
    await svix.message.create(app_id, MessageIn(event_type=event_type, payload={}))

    draft = read_event(await last_event(bus), max_bytes=1000)

    assert isinstance(draft, event.Draft)
    assert (draft.app, draft.event_type) == (app_id, event_type)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"payload": {}}, ["body", "eventType"]),
        ({"eventType": "a b", "payload": {}}, ["body", "eventType"]),
        ({"eventType": "x" * 257, "payload": {}}, ["body", "eventType"]),
        ({"eventType": "a"}, ["body", "payload"]),
        ({"eventType": "a", "payload": [1]}, ["body", "payload"]),
        ({"eventType": "a", "payload": "text"}, ["body", "payload"]),
        ({"eventType": "a", "payload": None}, ["body", "payload"]),
        ({"eventType": "a", "payload": {}, "channels": []}, ["body", "channels"]),
        ({"eventType": "a", "payload": {}, "channels": ["c"] * 11}, ["body", "channels"]),
        ({"eventType": "a", "payload": {}, "channels": ["a,b"]}, ["body", "channels", "[0]"]),
        ({"eventType": "a", "payload": {}, "tags": list("abcdef")}, ["body", "tags"]),
        ({"eventType": "a", "payload": {}, "eventId": "e 1"}, ["body", "eventId"]),
        ({"eventType": "a", "payload": {}, "eventId": "msg_1"}, ["body", "eventId"]),
        ({"eventType": "a", "payload": {}, "deliverAt": "2030-01-01T00:00:00Z"},
         ["body", "deliverAt"]),
        ({"eventType": "a", "payload": {}, "transformationsParams": {"rawPayload": 1}},
         ["body", "transformationsParams"]),
        ({"eventType": "a", "payload": {}, "payloadRetentionPeriod": 91},
         ["body", "payloadRetentionPeriod"]),
        ({"eventType": "a", "payload": {}, "payloadRetentionHours": 0},
         ["body", "payloadRetentionHours"]),
        ([], ["body"]),
    ],
)  # fmt: skip
async def test_what_is_not_as_it_must_be_is_named_and_nothing_is_published(
    gateway: Gateway, app_id: str, bus: Client, body: object, loc: list[str]
) -> None:
    answer = await gateway.http().post(f"/api/v1/app/{app_id}/msg", json=body)

    assert answer.status_code == 422
    assert loc in [fault["loc"] for fault in answer.json()["detail"]]
    assert await number_of_events(bus, app_id) == 0


async def test_a_body_that_is_no_json_is_refused(gateway: Gateway, app_id: str) -> None:
    answer = await gateway.http().post(f"/api/v1/app/{app_id}/msg", content=b'{"eventType":')

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]


@pytest.mark.parametrize("extra", [1, 100_000])
async def test_a_payload_over_the_limit_is_too_large_and_one_at_it_is_taken(
    gateway: Gateway, app_id: str, extra: int
) -> None:
    limit = CONFIG.max_payload_bytes
    at_limit = json.dumps({"x": "y" * (limit - 9)}).encode()
    over = json.dumps({"x": "y" * (limit - 9 + extra)}).encode()
    http = gateway.http()

    taken, refused = [
        await http.post(
            f"/api/v1/app/{app_id}/msg?with_content=false",
            content=b'{"eventType":"a","payload":%b}' % payload,
        )
        for payload in (at_limit, over)
    ]

    assert len(at_limit) == limit
    assert taken.status_code == 202
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")


class TestEventIds:
    async def test_the_same_event_id_twice_is_a_conflict_and_one_event(
        self, svix: SvixAsync, app_id: str, bus: Client
    ) -> None:
        message = MessageIn(event_type="a", payload={}, event_id="e-1")
        await svix.message.create(app_id, message)

        await refused(svix.message.create(app_id, message), 409, "conflict")

        assert await number_of_events(bus, app_id) == 1

    async def test_of_many_at_the_same_time_exactly_one_is_accepted(
        self, gateway: Gateway, app_id: str, bus: Client
    ) -> None:
        http = gateway.http()
        body = {"eventType": "a", "payload": {}, "eventId": "e-1"}

        answers = await asyncio.gather(
            *(http.post(f"/api/v1/app/{app_id}/msg", json=body) for _ in range(20))
        )

        assert sorted(answer.status_code for answer in answers) == [202, *[409] * 19]
        assert await number_of_events(bus, app_id) == 1

    async def test_the_ledger_of_postgres_and_the_stream_of_another_gateway_know_it_too(
        self, gateway: Gateway, other: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        async with gateway.pool.acquire() as link:
            await rows.message(link, app_id, event_id="stored")
        elsewhere = MessageIn(event_type="a", payload={}, event_id="elsewhere")
        await (
            replace(other, clients=gateway.clients)
            .svix(gateway.key)
            .message.create(app_id, elsewhere)
        )

        for event_id in ("stored", "elsewhere"):
            message = MessageIn(event_type="a", payload={}, event_id=event_id)
            await refused(svix.message.create(app_id, message), 409, "conflict")

    @pytest.mark.usefixtures("app_id")
    async def test_another_app_may_use_the_same_event_id(self, svix: SvixAsync) -> None:
        await svix.application.create(ApplicationIn(name="Two", uid="two"))
        message = MessageIn(event_type="a", payload={}, event_id="e-1")

        made = [await svix.message.create(uid, message) for uid in ("one", "two")]

        assert made[0].id != made[1].id


class TestReadingAtOnce:
    async def test_a_message_just_accepted_is_read_by_id_and_event_id(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.message.create(
            app_id, MessageIn(event_type="a", payload={"n": 1}, event_id="e-1"), WITH_CONTENT
        )

        by_id = await svix.message.get(app_id, made.id, READ_CONTENT)
        by_event_id = await svix.message.get("one", "e-1", READ_CONTENT)

        assert by_id == by_event_id == made

    async def test_another_gateway_reads_it_from_the_stream_without_any_dispatcher(
        self, gateway: Gateway, other: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        message = MessageIn(event_type="a..b", payload={"n": 1}, channels=["c"], tags=["t"])
        made = await asyncio.gather(
            *(svix.message.create(app_id, message, WITH_CONTENT) for _ in range(100))
        )
        elsewhere = replace(other, clients=gateway.clients).svix(gateway.key)

        read = [await elsewhere.message.get(app_id, m.id, READ_CONTENT) for m in made[::33]]

        assert read == made[::33]

    async def test_it_is_found_although_the_clocks_of_gateway_and_stream_disagree(
        self, gateway: Gateway, other: Gateway, app_id: str, bus: Client
    ) -> None:
        elsewhere = replace(other, clients=gateway.clients).svix(gateway.key)
        message = MessageIn(event_type="a", payload={})
        for seconds in (3, -3):
            clock = partial(ahead, timedelta(seconds=seconds))
            async with serve(gateway.pool, bus, clock=clock) as wrong:
                made = await wrong.svix(gateway.key).message.create(app_id, message)

            assert (await elsewhere.message.get(app_id, made.id)).id == made.id

    async def test_nobody_else_reads_it_and_what_was_never_accepted_is_not_found(
        self, gateway: Gateway, other: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.message.create(app_id, MessageIn(event_type="a", payload={}))
        elsewhere = replace(other, clients=gateway.clients).svix(gateway.key)
        two = await svix.application.create(ApplicationIn(name="Two"))
        never = ids.new_id(ids.MESSAGE, rows.now())

        for client in (svix, elsewhere):
            await refused(client.message.get(two.id, made.id), 404, "not_found")
        await refused(svix.message.get(app_id, never), 404, "not_found")
        await refused(svix.message.get(app_id, "msg_" + "z" * 27), 404, "not_found")
        await refused(svix.message.get(app_id, "no-such-event"), 404, "not_found")


class TestApplicationAlongside:
    async def test_an_unknown_app_is_made_as_the_body_describes_it(self, svix: SvixAsync) -> None:
        new = ApplicationIn(name="New", uid="new", metadata={"k": "v"})
        message = MessageIn(event_type="a", payload={}, application=new)

        made = [await svix.message.create("new", message) for _ in range(2)]

        app = await svix.application.get("new")
        assert (app.name, app.metadata) == ("New", {"k": "v"})
        assert (await svix.message.get(app.id, made[1].id)).id == made[1].id

    async def test_many_at_the_same_time_make_one_app(self, gateway: Gateway, bus: Client) -> None:
        http = gateway.http()
        new = {"name": "New", "uid": "new"}
        body = {"eventType": "a", "payload": {}, "application": new}

        answers = await asyncio.gather(
            *(http.post("/api/v1/app/new/msg", json=body) for _ in range(8))
        )

        assert {answer.status_code for answer in answers} == {202}
        apps = (await gateway.svix().application.list()).data
        assert [app.uid for app in apps] == ["new"]
        assert await number_of_events(bus, apps[0].id) == 8

    @pytest.mark.parametrize(
        ("uid", "fault"),
        [("other", "application_uid_mismatch"), (None, "application_uid_missing")],
    )
    async def test_its_uid_must_be_that_of_the_path(
        self, svix: SvixAsync, uid: str | None, fault: str
    ) -> None:
        new = ApplicationIn(name="New", uid=uid)

        with pytest.raises(HTTPValidationError) as raised:
            await svix.message.create("new", MessageIn(event_type="a", payload={}, application=new))

        assert [found.type for found in raised.value.detail] == [fault]

    async def test_without_it_an_unknown_app_is_not_found(self, svix: SvixAsync) -> None:
        await refused(
            svix.message.create("new", MessageIn(event_type="a", payload={})), 404, "not_found"
        )


async def test_a_key_of_an_app_publishes_nothing_and_reads_its_own_messages_only(
    gateway: Gateway, svix: SvixAsync, app_id: str
) -> None:
    two = await svix.application.create(ApplicationIn(name="Two"))
    key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)
    tenant = gateway.svix(key)
    message = MessageIn(event_type="a", payload={})
    made = await svix.message.create(app_id, message)
    others = await svix.message.create(two.id, message)

    assert (await tenant.message.get(app_id, made.id)).id == made.id
    await refused(tenant.message.create(app_id, message), 403, "insufficient access")
    await refused(tenant.message.expunge_content(app_id, made.id), 403, "insufficient access")
    await refused(tenant.message.get(two.id, others.id), 404, "not_found")
