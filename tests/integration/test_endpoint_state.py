"""`paused` and `ordered` by API: a gateway and a dispatcher on one database, and a receiver."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import ApplicationIn, EndpointIn, EndpointPatch, EndpointUpsertIn

from schema.store.link import Pool
from tests.dispatching import dispatching, eventually, publish
from tests.gateway_server import Gateway, serve
from tests.receiver import Receiver, answer, delayed
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")
URL = "http://127.0.0.1:8999/in"


@pytest_asyncio.fixture
async def gateway(pool: Pool, bus: Client) -> AsyncIterator[Gateway]:
    async with serve(pool, bus) as running:
        yield running


@pytest_asyncio.fixture
async def app_id(gateway: Gateway) -> str:
    return (await gateway.svix().application.create(ApplicationIn(name="app"))).id


async def made(http: httpx.AsyncClient, app_id: str, **fields: object) -> dict[str, object]:
    answered = await http.post(f"/api/v1/app/{app_id}/endpoint", json={"url": URL} | fields)
    assert answered.status_code == 201, answered.text
    shown: dict[str, object] = answered.json()
    return shown


async def patched(
    http: httpx.AsyncClient, app_id: str, endpoint_id: object, **fields: object
) -> dict[str, object]:
    answered = await http.patch(f"/api/v1/app/{app_id}/endpoint/{endpoint_id}", json=fields)
    assert answered.status_code == 200, answered.text
    shown: dict[str, object] = answered.json()
    return shown


def state_of(shown: dict[str, object]) -> tuple[object, ...]:
    return tuple(shown[name] for name in ("state", "stateReason", "disabled", "paused"))


ACTIVE = ("active", "", False, False)
PAUSED = ("paused", "by_request", False, True)
DISABLED = ("disabled", "by_request", True, False)


async def test_an_endpoint_is_paused_and_goes_on_by_patch(gateway: Gateway, app_id: str) -> None:
    async with gateway.http() as http:
        endpoint = await made(http, app_id)
        assert state_of(endpoint) == ACTIVE

        paused = await patched(http, app_id, endpoint["id"], paused=True)
        untouched = await patched(http, app_id, endpoint["id"], description="d", paused=None)
        going = await patched(http, app_id, endpoint["id"], paused=False)

    assert [state_of(one) for one in (paused, untouched, going)] == [PAUSED, PAUSED, ACTIVE]


async def test_an_endpoint_may_be_made_paused(gateway: Gateway, app_id: str) -> None:
    async with gateway.http() as http:
        assert state_of(await made(http, app_id, paused=True)) == PAUSED


async def test_what_svix_s_client_replaces_or_changes_stays_paused_and_ordered(
    gateway: Gateway, app_id: str
) -> None:
    svix = gateway.svix()
    async with gateway.http() as http:
        endpoint = await made(http, app_id, paused=True, ordered=True)
        ident = str(endpoint["id"])

        await svix.endpoint.upsert(app_id, ident, EndpointUpsertIn(url=f"{URL}2"))
        await svix.endpoint.patch(app_id, ident, EndpointPatch(disabled=False))

        shown = (await http.get(f"/api/v1/app/{app_id}/endpoint/{ident}")).json()
    assert (shown["url"], shown["ordered"], state_of(shown)) == (f"{URL}2", True, PAUSED)


async def test_disabled_wins_over_paused(gateway: Gateway, app_id: str) -> None:
    async with gateway.http() as http:
        endpoint = await made(http, app_id, paused=True)
        path = f"/api/v1/app/{app_id}/endpoint/{endpoint['id']}"

        disabled = await patched(http, app_id, endpoint["id"], disabled=True)
        refused = await http.patch(path, json={"paused": True})
        both = await http.post(
            f"/api/v1/app/{app_id}/endpoint", json={"url": URL, "disabled": True, "paused": True}
        )
        paused = await patched(http, app_id, endpoint["id"], disabled=False, paused=True)

    assert (state_of(disabled), state_of(paused)) == (DISABLED, PAUSED)
    for one in (refused, both):
        assert one.status_code == 422
        assert one.json()["detail"][0]["loc"] == ["body", "paused"]


async def test_the_audit_trail_says_what_an_endpoint_became(
    gateway: Gateway, app_id: str, pool: Pool
) -> None:
    async with gateway.http() as http:
        endpoint = await made(http, app_id)
        for fields in ({"paused": True}, {"description": "d"}, {"paused": False}):
            await patched(http, app_id, endpoint["id"], **fields)

    rows = await pool.fetch(
        "SELECT detail FROM audit WHERE action = 'endpoint.update' ORDER BY at, id"
    )
    assert [row["detail"] for row in rows] == [{"state": "paused"}, {}, {"state": "active"}]


async def test_a_paused_endpoint_is_sent_nothing_within_a_second_and_gets_all_in_order_later(
    gateway: Gateway, app_id: str, services: Services, bus: Client
) -> None:
    """Slow answers: some attempts are under way at the call, and end well."""
    svix, loop = gateway.svix(), asyncio.get_running_loop()
    async with Receiver() as receiver, dispatching(gateway.pool, services.nats_url):
        receiver.script("/", delayed(0.05, answer(200)))
        endpoint = await svix.endpoint.create(app_id, EndpointIn(url=receiver.url("/hook")))
        async with gateway.http() as http:
            await patched(http, app_id, endpoint.id, ordered=True)
            for number in range(30):
                await publish(bus, app_id, body=b'{"n": %d}' % number)
            await receiver.wait_for(3)

            await patched(http, app_id, endpoint.id, paused=True)
            paused_at = loop.time()
            for number in range(30, 40):
                await publish(bus, app_id, body=b'{"n": %d}' % number)
            await eventually(lambda: _owed_and_still(gateway.pool, 40))
            before = len(receiver.requests)
            assert all(r.at <= paused_at + 1 for r in receiver.requests)
            assert before < 30

            await patched(http, app_id, endpoint.id, paused=False)

        await receiver.wait_for(40)
    assert [orjson.loads(r.body)["n"] for r in receiver.requests] == list(range(40))


async def _owed_and_still(pool: Pool, number: int) -> bool:
    """Tell whether all that was published is a row, and nothing was settled for half a second."""
    made = await pool.fetchval("SELECT count(*) FROM delivery")
    last = await pool.fetchval("SELECT now() - max(last_attempt_at) FROM delivery")
    return made == number and last is not None and last.total_seconds() > 0.5
