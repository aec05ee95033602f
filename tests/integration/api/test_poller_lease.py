"""Messages leased by polling, and the keys that read one poller, by HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from svix.api import SvixAsync
from svix.api_internal.message import MessageAsync
from svix.models import PollerV2CommitIn

from gateway.config import GatewayConfig
from schema.api_key import KeyKind
from tests import rows
from tests.dispatching import eventually
from tests.gateway_server import CONFIG, Gateway, make_key
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
STEP = timedelta(milliseconds=8)  # ids tell times 4 ms apart
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return GatewayConfig(
        shards=CONFIG.shards,
        allowed_networks=CONFIG.allowed_networks,
        allow_ip_literals=CONFIG.allow_ip_literals,
        poll_margin_s=0.0,
    )


@pytest_asyncio.fixture(loop_scope="module")
async def sink(http: httpx.AsyncClient, tenant: Tenant) -> str:
    return await made(http, tenant)


async def made(http: httpx.AsyncClient, tenant: Tenant) -> str:
    said = await http.post(f"/api/v1/app/{tenant.app_id}/poller", json={})
    return str(said.json()["id"])


def place(tenant: Tenant, sink: str, consumer: str = "c") -> str:
    return f"/api/v1/app/{tenant.app_id}/polling-endpoint/{sink}/consumer/{consumer}"


def token(tenant: Tenant, sink: str) -> str:
    return f"/api/v1/auth/app/{tenant.app_id}/poller/{sink}/token"


async def stored(http: httpx.AsyncClient, tenant: Tenant, sink: str, number: int) -> list[str]:
    """Store messages, a step apart, and wait until they can be polled for; give their ids."""
    began = rows.now()
    sent = [await rows.message(tenant.link, tenant.app_id, began + n * STEP) for n in range(number)]

    async def enough() -> bool:
        said = await http.get(f"/api/v1/app/{tenant.app_id}/poller/{sink}?limit=250")
        return {message["id"] for message in said.json()["data"]} >= set(sent)

    await eventually(enough)
    return sent


async def leased(http: httpx.AsyncClient, at: str, **query: Any) -> dict[str, Any]:
    said = await http.get(at, params=query)
    assert said.status_code == 200, said.text
    page: dict[str, Any] = said.json()
    return page


async def commit(http: httpx.AsyncClient, at: str, offset: int) -> int:
    return (await http.post(f"{at}/commit", json={"offset": offset})).status_code


def ids_of(page: dict[str, Any]) -> list[str]:
    return [message["id"] for message in page["data"]]


def offsets_of(page: dict[str, Any]) -> list[int]:
    return [message["offset"] for message in page["data"]]


async def test_what_is_leased_is_nobody_elses_until_it_is_committed(
    http: httpx.AsyncClient, tenant: Tenant, sink: str
) -> None:
    sent, at = await stored(http, tenant, sink, 4), place(tenant, sink)

    first = await leased(http, at, limit=3, lease_duration_ms=HOUR_MS)
    meanwhile = await leased(http, at)
    some = await commit(http, at, offsets_of(first)[1])
    held = await leased(http, at)
    rest = await commit(http, at, offsets_of(first)[2])
    second = await leased(http, at)

    assert (ids_of(first), first["done"]) == (sent[:3], False)
    assert (meanwhile, held) == ({"data": [], "done": True}, {"data": [], "done": True})
    assert (some, rest) == (204, 204)
    assert (ids_of(second), second["done"]) == (sent[3:], True)
    assert offsets_of(first) + offsets_of(second) == [0, 1, 2, 3]
    assert ids_of(await leased(http, place(tenant, sink, "other"))) == sent


async def test_the_official_client_leases_and_commits(
    svix: SvixAsync, http: httpx.AsyncClient, tenant: Tenant, sink: str
) -> None:
    sent = await stored(http, tenant, sink, 2)
    client = MessageAsync(svix.message._client, svix.message._httpx_client).pollerv2

    page = await client.consumer_poll(tenant.app_id, sink, "c")
    last = PollerV2CommitIn(offset=page.data[-1].offset)
    await client.consumer_commit(tenant.app_id, sink, "c", last)
    after = await client.consumer_poll(tenant.app_id, sink, "c")

    assert [message.id for message in page.data] == sent
    assert (after.data, after.done) == ([], True)


async def test_a_lease_that_is_over_gives_the_same_messages_at_the_same_offsets(
    http: httpx.AsyncClient, tenant: Tenant, sink: str
) -> None:
    await stored(http, tenant, sink, 3)
    at = place(tenant, sink)

    first = await leased(http, at, lease_duration_ms=0)
    again = await leased(http, at)

    assert first["data"] == again["data"]
    assert len(first["data"]) == 3
    assert await commit(http, at, 2) == 204
    assert await commit(http, at, 1) == 204  # as it is already
    assert (await leased(http, at))["data"] == []


async def test_of_callers_at_once_one_gets_the_messages(
    http: httpx.AsyncClient, tenant: Tenant, sink: str
) -> None:
    sent, at = await stored(http, tenant, sink, 2), place(tenant, sink)

    pages = await asyncio.gather(*[leased(http, at) for _ in range(8)])

    assert [ids_of(page) for page in pages if page["data"]] == [sent]


async def test_a_consumer_begins_where_it_says_and_is_sought_elsewhere(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    ago = rows.now() - timedelta(hours=1)
    old = await rows.message(tenant.link, tenant.app_id, ago)
    sink = await made(http, tenant)
    sent = await stored(http, tenant, sink, 1)

    async def began(consumer: str, **query: str) -> list[str]:
        return ids_of(await leased(http, place(tenant, sink, consumer), **query))

    assert await began("as-the-poller") == sent
    assert await began("first", starting_position="earliest") == [old, *sent]
    assert await began("last", starting_position="latest") == []
    assert await began("last", starting_position="earliest") == []  # it has begun
    consumer = f"/api/v1/app/{tenant.app_id}/poller/{sink}/consumer/first"
    await http.post(f"{consumer}/seek", json={"after": ago.isoformat()})
    sought = await leased(http, place(tenant, sink, "first"))
    assert (ids_of(sought), offsets_of(sought)) == ([old, *sent], [2, 3])


async def test_what_was_not_given_is_not_committed(
    http: httpx.AsyncClient, tenant: Tenant, sink: str
) -> None:
    at = place(tenant, sink)
    assert await commit(http, at, 0) == 404
    await leased(http, at)

    assert await commit(http, at, 0) == 422
    assert (await http.post(f"{at}/commit", json={})).status_code == 422
    assert (await http.get(at, params={"lease_duration_ms": HOUR_MS + 1})).status_code == 422
    assert (await http.get(at, params={"starting_position": "middle"})).status_code == 400


async def test_a_pollers_key_reads_it_and_does_nothing_else(
    http: httpx.AsyncClient, gateway: Gateway, tenant: Tenant, sink: str
) -> None:
    other = await made(http, tenant)
    sent = await stored(http, tenant, sink, 1)
    given = await http.post(f"{token(tenant, sink)}/rotate", json={"expiry": 60})
    assert given.status_code == 201, given.text
    app = f"/api/v1/app/{tenant.app_id}"

    async with gateway.http(given.json()["token"]) as reader:
        polled = await reader.get(f"{app}/poller/{sink}")
        page = await leased(reader, place(tenant, sink))
        committed = await commit(reader, place(tenant, sink), 0)
        elsewhere = [
            (await reader.get(f"{app}/poller/{other}")).status_code,
            (await reader.get(place(tenant, other))).status_code,
            await commit(reader, place(tenant, other), 0),
            (await reader.get(app)).status_code,
            (await reader.delete(f"{app}/poller/{sink}")).status_code,
            (await reader.get(token(tenant, sink))).status_code,
        ]

    assert (ids_of(polled.json()), ids_of(page), committed) == (sent, sent, 204)
    assert elsewhere == [404, 404, 404, 403, 403, 403]


async def test_a_pollers_key_is_shown_again_and_ends_when_there_is_another(
    http: httpx.AsyncClient, gateway: Gateway, tenant: Tenant, sink: str
) -> None:
    at = token(tenant, sink)
    none = (await http.get(at)).status_code
    first = (await http.post(f"{at}/rotate", json={})).json()
    shown = (await http.get(at)).json()
    second = (await http.post(f"{at}/rotate", json={})).json()
    third = (await http.post(f"{at}/rotate", json={"oldTokenExpiry": 60})).json()
    keys = [one["token"] for one in (first, second, third)]

    assert none == 404
    assert shown == first
    assert (await http.get(at)).json() == third
    assert await statuses(gateway, tenant, sink, keys) == [401, 200, 200]
    audited = await tenant.link.fetchval(
        "SELECT count(*) FROM audit WHERE object = $1 AND action = 'poller.reveal_key'", sink
    )
    assert audited == 2
    await http.delete(f"/api/v1/app/{tenant.app_id}/poller/{sink}")
    assert await statuses(gateway, tenant, sink, keys) == [401, 401, 401]


async def statuses(gateway: Gateway, tenant: Tenant, sink: str, keys: list[str]) -> list[int]:
    """Say what each key is answered that polls."""
    said = []
    for key in keys:
        async with gateway.http(key) as reader:
            said.append((await reader.get(place(tenant, sink))).status_code)
    return said


async def test_a_key_of_another_app_leases_nothing(
    gateway: Gateway, desk: Desk, tenant: Tenant, sink: str
) -> None:
    other = await desk.tenant("two")
    key = await make_key(
        gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=other.app_id
    )
    assert await statuses(gateway, tenant, sink, [key]) == [404]
