"""Many messages in one request, on a real stream and a real Postgres."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client

from gateway.config import GatewayConfig
from schema import event
from schema.api_key import KeyKind
from schema.event import read_event
from tests import rows
from tests.gateway_server import CONFIG, PAYLOADS, Gateway, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

MAX_BULK_BYTES = 1_500_000


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, max_bulk_bytes=MAX_BULK_BYTES)


@lent_to_a_test
async def app_id(http: httpx.AsyncClient) -> str:
    made = await http.post("/api/v1/app", json={"name": "One", "uid": "one"})
    return str(made.json()["id"])


def plain(number: int = 0, **other: object) -> dict[str, object]:
    return {"eventType": "a.b", "payload": {"n": number}} | other


async def publish(http: httpx.AsyncClient, *messages: object) -> httpx.Response:
    return await http.post("/api/v1/app/one/msg/bulk", json={"messages": messages})


def results(answer: httpx.Response) -> list[dict[str, object]]:
    assert answer.status_code == 202, answer.text
    given: list[dict[str, object]] = answer.json()["results"]
    return given


def statuses(answer: httpx.Response) -> list[object]:
    return [result["status"] for result in results(answer)]


async def events_of(bus: Client, app_id: str) -> list[event.Event]:
    """Give an app's events, in order, as an intake reads them."""
    jetstream = bus.jetstream()
    found: list[event.Event] = []
    info = await jetstream.stream_info(event.STREAM, subjects_filter=f"shard.*.{app_id}.>")
    number = sum((info.state.subjects or {}).values())
    sequence = info.state.first_seq
    while len(found) < number:
        one = await jetstream.get_msg(
            event.STREAM, sequence, subject=f"shard.*.{app_id}.>", direct=True, next=True
        )
        sequence = (one.seq or 0) + 1
        found.append(
            event.Event(
                subject=one.subject or "",
                headers=one.headers or {},
                body=one.data or b"",
                sequence=one.seq or 0,
                at=rows.now(),
            )
        )
    return found


async def test_each_message_is_accepted_in_order_and_lies_on_the_stream_as_the_intake_expects_it(
    http: httpx.AsyncClient, app_id: str, bus: Client
) -> None:
    messages = [plain(n) for n in range(20)]
    messages[3] |= {"eventId": "e-3", "channels": ["c", "d"], "tags": ["t/1"]}
    messages[7] |= {"eventType": "x..y"}

    said = results(await publish(http, *messages))

    drafts = [read_event(one, max_bytes=1000) for one in await events_of(bus, app_id)]
    assert [one["status"] for one in said] == ["accepted"] * 20
    assert [d.message_id for d in drafts if isinstance(d, event.Draft)] == [
        one["id"] for one in said
    ]
    assert [json.loads(d.body)["n"] for d in drafts if isinstance(d, event.Draft)] == [*range(20)]
    third, seventh = drafts[3], drafts[7]
    assert isinstance(third, event.Draft)
    assert isinstance(seventh, event.Draft)
    assert (third.event_id, third.channels, third.tags) == ("e-3", ("c", "d"), ("t/1",))
    assert said[3]["eventId"] == "e-3"
    assert (seventh.app, seventh.event_type) == (app_id, "x..y")


async def test_they_go_to_the_stream_as_one_batch(
    http: httpx.AsyncClient, app_id: str, bus: Client
) -> None:
    await publish(http, *(plain(n) for n in range(50)))

    batches = {one.headers["Nats-Batch-Id"] for one in await events_of(bus, app_id)}

    assert len(batches) == 1


@pytest.mark.parametrize("name", [b"payload", b"data"])
async def test_the_bytes_of_every_payload_are_published_and_shown_as_they_came(
    http: httpx.AsyncClient, app_id: str, bus: Client, name: bytes
) -> None:
    items = [b'{ "eventType": "a.b",\n "%b" : %b , "other": ["}"] }' % (name, p) for p in PAYLOADS]
    body = b'{ "other": [{}], "messages" : [ %b ] }' % b" ,\n ".join(items)

    answer = await http.post("/api/v1/app/one/msg/bulk", content=body)

    said = results(answer)
    assert [one.body for one in await events_of(bus, app_id)] == PAYLOADS
    for one, payload in zip(said, PAYLOADS, strict=True):
        read = await http.get(f"/api/v1/app/one/msg/{one['id']}")
        assert b'"payload":' + payload in read.content


async def test_a_bad_message_is_refused_alone_with_what_is_wrong_with_it(
    http: httpx.AsyncClient, app_id: str, bus: Client
) -> None:
    large = plain() | {"payload": {"x": "y" * CONFIG.max_payload_bytes}}

    said = results(await publish(http, plain(1), {"eventType": "a b"}, 7, large, plain(2)))

    assert [one["status"] for one in said] == [
        "accepted",
        "rejected",
        "rejected",
        "rejected",
        "accepted",
    ]
    assert said[1]["code"] == "validation"
    assert [fault["loc"] for fault in said[1]["faults"]] == [
        ["body", "messages", "[1]", "eventType"],
        ["body", "messages", "[1]", "payload"],
    ]
    assert (said[3]["code"], "limit is" in str(said[3]["detail"])) == ("payload_too_large", True)
    assert [json.loads(one.body)["n"] for one in await events_of(bus, app_id)] == [1, 2]


class TestEventIds:
    async def test_of_the_same_id_in_one_request_the_first_is_accepted(
        self, http: httpx.AsyncClient, app_id: str, bus: Client
    ) -> None:
        answer = await publish(
            http, plain(1, eventId="e"), plain(2, eventId="e"), plain(3, eventId="f")
        )

        assert statuses(answer) == ["accepted", "duplicate", "accepted"]
        assert results(answer)[1]["code"] == "conflict"
        assert len(await events_of(bus, app_id)) == 2

    async def test_ids_that_this_gateway_postgres_or_the_stream_know_are_told_apart(
        self, gateway: Gateway, http: httpx.AsyncClient, app_id: str, bus: Client
    ) -> None:
        await http.post("/api/v1/app/one/msg", json=plain(eventId="here"))
        async with gateway.pool.acquire() as link:
            await rows.message(link, app_id, event_id="stored")
        dedupe = {event.DEDUPE_ID: f"{app_id}:elsewhere"}
        await bus.jetstream().publish(f"events.{app_id}.a", b"{}", headers=dedupe)
        known = [plain(eventId=known) for known in ("here", "stored", "elsewhere")]

        answer = await publish(http, *(plain(n) for n in range(20)), *known, plain(eventId="new"))

        assert statuses(answer) == ["accepted"] * 20 + ["duplicate"] * 3 + ["accepted"]
        assert len(await events_of(bus, app_id)) == 2 + 21

    async def test_requests_with_the_same_ids_at_the_same_time_store_each_once(
        self, http: httpx.AsyncClient, app_id: str, bus: Client
    ) -> None:
        messages = [plain(n, eventId=f"e-{n}") for n in range(40)]

        answers = await asyncio.gather(*(publish(http, *messages) for _ in range(4)))

        for place in range(40):
            said = sorted(str(statuses(answer)[place]) for answer in answers)
            assert said == ["accepted", "duplicate", "duplicate", "duplicate"]
        assert len(await events_of(bus, app_id)) == 40


async def test_a_thousand_are_taken_and_one_more_is_refused_with_the_limit(
    http: httpx.AsyncClient, app_id: str, bus: Client
) -> None:
    taken = await publish(http, *(plain(n) for n in range(1_000)))
    refused = await publish(http, *(plain(n) for n in range(1_001)))

    assert statuses(taken) == ["accepted"] * 1_000
    assert refused.status_code == 422
    assert refused.json()["detail"] == [
        {
            "loc": ["body", "messages"],
            "msg": "1 to 1000 messages are expected, not 1001",
            "type": "value_error",
        }
    ]
    info = await bus.jetstream().stream_info(event.STREAM, subjects_filter=f"shard.*.{app_id}.>")
    assert sum((info.state.subjects or {}).values()) == 1_000


@pytest.mark.usefixtures("app_id")
async def test_a_body_over_the_limit_is_refused_by_name_and_may_exceed_that_of_one_message(
    http: httpx.AsyncClient,
) -> None:
    part = {"x": "y" * 450_000}

    taken = await publish(http, *[plain() | {"payload": part}] * 3)
    refused = await publish(http, *[plain() | {"payload": part}] * 4)

    assert statuses(taken) == ["accepted"] * 3
    assert (refused.status_code, refused.json()["code"]) == (413, "bulk_too_large")
    assert "HOOKLINE_MAX_BULK_BYTES" in refused.json()["detail"]


@pytest.mark.usefixtures("app_id")
@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"messages":7}', b'{"messages":[]}'])
async def test_a_body_without_messages_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/api/v1/app/one/msg/bulk", content=body)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


async def test_operators_alone_publish_and_an_unknown_app_is_not_found(
    gateway: Gateway, http: httpx.AsyncClient, app_id: str
) -> None:
    key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)

    tenants = await publish(gateway.http(key), plain())
    unknown = await http.post("/api/v1/app/two/msg/bulk", json={"messages": [plain()]})

    assert (tenants.status_code, tenants.json()["code"]) == (403, "insufficient access")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


@pytest.mark.usefixtures("app_id")
async def test_each_message_is_counted_by_what_became_of_it(http: httpx.AsyncClient) -> None:
    before = await counted(http)

    await publish(http, plain(), plain(eventId="e"), plain(eventId="e"), {}, {})

    after = await counted(http)
    assert after - before == {
        'hookline_accepted_total{door="bulk"}': 2,
        'hookline_refused_total{code="conflict"}': 1,
        'hookline_refused_total{code="validation"}': 2,
    }


class Counted(dict[str, float]):
    def __sub__(self, before: "Counted") -> dict[str, float]:
        grown = {name: value - before.get(name, 0) for name, value in self.items()}
        return {name: by for name, by in grown.items() if by}


async def counted(http: httpx.AsyncClient) -> Counted:
    lines = (await http.get("/metrics")).text.splitlines()
    wanted = ("hookline_accepted_total", "hookline_refused_total")
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(wanted))
    return Counted((name, float(value)) for name, value in pairs)
