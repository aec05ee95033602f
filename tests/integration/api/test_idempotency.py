"""A request that is repeated under its idempotency key is done once, whichever gateway it meets."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from starlette.requests import Request

from gateway.auth import Caller
from gateway.idempotency import Key, read_key
from schema import event, ids
from schema.api_key import KeyKind
from schema.store.link import Pool
from tests import rows
from tests.gateway_server import Gateway, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

PAYLOAD = {"eventType": "user.created", "payload": {"n": 1}}
COUNTED = (
    'hookline_accepted_total{door="http"}',
    'hookline_accepted_total{door="bulk"}',
    'hookline_replayed_total{what="publish"}',
)
OTHER = {"eventType": "user.deleted", "payload": {"n": 2}}


@lent_to_the_module
async def second(pool: Pool, bus: Client) -> AsyncIterator[Gateway]:
    """Lend another gateway on the same Postgres and NATS."""
    async with serve(pool, bus) as running:
        yield running


@lent_to_a_test
async def other(second: Gateway, gateway: Gateway) -> httpx.AsyncClient:
    """Lend a client of the other gateway, with the test's own key."""
    return second.http(gateway.key)


@lent_to_a_test
async def app_id(http: httpx.AsyncClient) -> str:
    return str((await http.post("/api/v1/app", json={"name": "One", "uid": "one"})).json()["id"])


async def post(
    client: httpx.AsyncClient, path: str, body: object, key: str, **headers: str
) -> httpx.Response:
    return await client.post(path, json=body, headers={"idempotency-key": key, **headers})


async def counted(http: httpx.AsyncClient) -> dict[str, float]:
    """Give what the gateway has counted."""
    lines = (await http.get("/metrics")).text.splitlines()
    return {name: sum(float(line.split()[1]) for line in lines if line.startswith(name))
            for name in COUNTED}  # fmt: skip


async def events_of(bus: Client, app_id: str) -> int:
    info = await bus.jetstream().stream_info(event.STREAM, subjects_filter=f"shard.*.{app_id}.>")
    return sum((info.state.subjects or {}).values())


async def key_of(gateway: Gateway, path: str, text: str) -> Key:
    """Give the key that a gateway reads of such a request."""
    key_id = await gateway.pool.fetchval(
        "SELECT id FROM api_key WHERE environment_id = $1", gateway.environment_id
    )
    scope: dict[str, Any] = {
        "type": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"idempotency-key", text.encode())],
    }
    caller = Caller(
        environment_id=gateway.environment_id,
        app_id=None,
        kind=KeyKind.OPERATOR,
        key_id=key_id,
        scopes=(),
    )
    key = read_key(Request(scope), caller)
    assert key is not None
    return key


async def published_before(
    gateway: Gateway, app_id: str, text: str, at_ago: timedelta, path: str
) -> str:
    """Store a message as the intake does of one that was published under a key long ago."""
    at = rows.now() - at_ago
    ident = ids.new_id(ids.MESSAGE, at, (await key_of(gateway, path, text)).chance)
    async with gateway.pool.acquire() as link:
        await rows.message(link, app_id, at, id=ident, payload=b'{"first":1}')
        await link.execute(
            "INSERT INTO message_key VALUES ($1, $2, $3)", app_id, ids.chance_of(ident), ident
        )
    return ident


@pytest.mark.parametrize("key", ["auto_", "mine-"])
async def test_publishing_again_gives_the_first_answer_by_whichever_gateway(
    http: httpx.AsyncClient,
    other: httpx.AsyncClient,
    bus: Client,
    app_id: str,
    key: str,
) -> None:
    path, key = f"/api/v1/app/{app_id}/msg", key + uuid4().hex
    first = await post(http, path, PAYLOAD, key)

    answers = [
        await post(http, path + "/", PAYLOAD, key),
        await post(http, path, OTHER, key),
        await post(http, path, PAYLOAD | {"eventId": "e-1"}, key),
        await post(other, path, OTHER, key),
    ]

    assert {answer.status_code for answer in (first, *answers)} == {202}
    assert [answer.json() for answer in answers] == [first.json()] * 4
    assert await events_of(bus, app_id) == 1


async def test_an_event_id_is_no_obstacle_to_the_same_request_and_one_to_another(
    http: httpx.AsyncClient, other: httpx.AsyncClient, bus: Client, app_id: str
) -> None:
    path, body = f"/api/v1/app/{app_id}/msg", PAYLOAD | {"eventId": "e-1"}
    first = await post(http, path, body, "auto_1")

    answers = [await post(client, path, body, "auto_1") for client in (http, other)]
    another = [await post(client, path, body, "auto_2") for client in (http, other)]

    assert [answer.json() for answer in answers] == [first.json()] * 2
    assert [answer.status_code for answer in another] == [409] * 2
    assert await events_of(bus, app_id) == 1


async def test_requests_at_one_time_with_one_key_publish_once(
    http: httpx.AsyncClient, other: httpx.AsyncClient, bus: Client, app_id: str
) -> None:
    path = f"/api/v1/app/{app_id}/msg"

    answers = await asyncio.gather(
        *(post(client, path, PAYLOAD, "auto_x") for client in [http, other] * 10)
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await events_of(bus, app_id) == 1


async def test_keys_are_those_of_a_caller_and_a_path_with_its_query(
    http: httpx.AsyncClient, bus: Client, app_id: str
) -> None:
    path = f"/api/v1/app/{app_id}/msg"

    answers = [
        await post(http, path, PAYLOAD, "k"),
        await post(http, f"{path}?with_content=false", PAYLOAD, "k"),
        await post(http, "/api/v1/app/one/msg", PAYLOAD, "k"),
        await post(http, path, PAYLOAD, "k2"),
    ]

    assert len({answer.json()["id"] for answer in answers}) == 4
    assert await events_of(bus, app_id) == 4


async def test_what_was_refused_may_be_published_under_the_same_key(
    http: httpx.AsyncClient, app_id: str
) -> None:
    path = f"/api/v1/app/{app_id}/msg"

    refused = await post(http, path, {"eventType": "a b"}, "k")
    accepted = await post(http, path, PAYLOAD, "k")

    assert (refused.status_code, accepted.status_code) == (422, 202)


@pytest.mark.parametrize("again", [False, True])
async def test_a_repeat_that_the_stream_has_forgotten_is_known_to_postgres(
    http: httpx.AsyncClient, gateway: Gateway, bus: Client, app_id: str, *, again: bool
) -> None:
    path, key = f"/api/v1/app/{app_id}/msg", "auto_1" if again else "mine"
    headers = {"svix-retry-count": "1"} if again else {}
    first = await published_before(gateway, app_id, key, timedelta(hours=11), path)

    answer = await post(http, path, PAYLOAD, key, **headers)

    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["payload"]) == (first, {"first": 1})
    assert await events_of(bus, app_id) == 0


async def test_a_key_is_forgotten_after_twelve_hours(
    http: httpx.AsyncClient, gateway: Gateway, bus: Client, app_id: str
) -> None:
    path = f"/api/v1/app/{app_id}/msg"
    first = await published_before(gateway, app_id, "k", timedelta(hours=12, seconds=1), path)

    answer = await post(http, path, PAYLOAD, "k")

    assert answer.status_code == 202
    assert answer.json()["id"] != first
    assert await events_of(bus, app_id) == 1


async def test_the_id_of_a_repeat_that_was_found_out_late_stands_for_the_first_message(
    http: httpx.AsyncClient, gateway: Gateway, app_id: str
) -> None:
    path = f"/api/v1/app/{app_id}/msg"
    first = await published_before(gateway, app_id, "k", timedelta(hours=1), path)
    late = ids.new_id(ids.MESSAGE, rows.now(), (await key_of(gateway, path, "k")).chance)

    answer = await http.get(f"{path}/{late}")

    assert answer.json()["id"] == first


async def test_many_messages_that_come_again_are_answered_as_before(
    http: httpx.AsyncClient, other: httpx.AsyncClient, bus: Client, app_id: str
) -> None:
    path = f"/api/v1/app/{app_id}/msg/bulk"
    body = {"messages": [PAYLOAD, {"eventType": "a b"}, PAYLOAD | {"eventId": "e-1"}, OTHER] * 5}
    first = await post(http, path, body, "auto_b")

    same = await post(http, path, body, "auto_b")
    there = await post(other, path, body, "auto_b", **{"svix-retry-count": "1"})

    assert first.status_code == 202
    assert first.json() == same.json() == there.json()
    assert await events_of(bus, app_id) == 11


async def test_repeats_are_counted_apart_from_what_is_accepted(
    http: httpx.AsyncClient, app_id: str
) -> None:
    path, before = f"/api/v1/app/{app_id}/msg", await counted(http)
    for _ in range(3):
        await post(http, path, PAYLOAD, "k1")
        await post(http, f"{path}/bulk", {"messages": [PAYLOAD] * 5}, "k2")

    now = await counted(http)

    assert [now[name] - before[name] for name in COUNTED] == [1, 5, 12]


async def test_any_other_post_that_comes_again_gets_the_first_answer(
    http: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    first = await post(http, "/api/v1/app", {"name": "A"}, "k")

    again = [
        await post(client, "/api/v1/app", {"name": name}, "k")
        for client in (http, other)
        for name in ("A", "B")
    ]

    assert {answer.status_code for answer in again} == {201}
    assert [answer.content for answer in again] == [first.content] * 4
    assert again[0].headers["content-type"] == first.headers["content-type"]
    assert len((await http.get("/api/v1/app")).json()["data"]) == 1


async def test_requests_at_one_time_with_one_key_are_done_once(
    http: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(
        *(post(client, "/api/v1/app", {"name": "A"}, "k") for client in [http, other] * 5)
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_refusal_is_forgotten(http: httpx.AsyncClient, app_id: str) -> None:
    taken = await post(http, "/api/v1/app", {"name": "A", "uid": "one"}, "k")
    free = await post(http, "/api/v1/app", {"name": "A", "uid": "two"}, "k")

    assert app_id
    assert (taken.status_code, free.status_code) == (409, 201)


async def test_a_secret_is_rotated_once_by_a_request_that_comes_again(
    http: httpx.AsyncClient, other: httpx.AsyncClient, app_id: str
) -> None:
    endpoints = f"/api/v1/app/{app_id}/endpoint"
    made = (await http.post(endpoints, json={"url": "https://hooks.example.com/"})).json()
    path = f"{endpoints}/{made['id']}/secret"
    first = await post(http, f"{path}/rotate", {}, "k")
    rotated = (await http.get(path)).json()

    again = await post(other, f"{path}/rotate", {}, "k")

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert (await http.get(path)).json() == rotated


async def test_a_kept_answer_is_sealed_and_counts_for_half_a_day(
    http: httpx.AsyncClient, gateway: Gateway
) -> None:
    first = await post(http, "/api/v1/app", {"name": "unmistakable"}, "k")
    kept = await gateway.pool.fetch("SELECT body FROM kept_answer")

    await gateway.pool.execute(
        "UPDATE kept_answer SET begun_at = now() - interval '12 hours 1 second'"
    )
    later = await post(http, "/api/v1/app", {"name": "unmistakable"}, "k")

    assert not any(b"unmistakable" in (row["body"] or b"") for row in kept)
    assert later.json()["id"] != first.json()["id"]


async def test_a_key_that_a_dead_gateway_held_is_free_after_a_minute(
    http: httpx.AsyncClient, gateway: Gateway
) -> None:
    key = await key_of(gateway, "/api/v1/app", "k")
    at = rows.now() - timedelta(minutes=1, seconds=1)
    await gateway.pool.execute(
        """INSERT INTO kept_answer (key, holder, begun_at, held_until)
           VALUES ($1, $2, $3, $4)""",
        key.digest, b"dead", at, at + timedelta(minutes=1),
    )  # fmt: skip

    answer = await post(http, "/api/v1/app", {"name": "A"}, "k")

    assert answer.status_code == 201
