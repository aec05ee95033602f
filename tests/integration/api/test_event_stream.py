"""Messages as streams that the caller keeps the place of: an app's, and what operators are told."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from svix.api import ApplicationIn, EndpointIn, OperationalWebhookEndpointIn, SvixAsync

from gateway.config import GatewayConfig
from schema.operational import app_of
from tests import rows
from tests.dispatching import dispatching, eventually
from tests.gateway_server import CONFIG, Gateway, make_environment
from tests.services import Services
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
STEP = timedelta(milliseconds=8)  # ids tell times 4 ms apart
OPERATORS = "/api/v1/events"


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, poll_margin_s=0.0)


async def streamed(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    said = await http.get(path, params=query)
    assert said.status_code == 200, said.text
    return dict(said.json())


def path_of(tenant: Tenant) -> str:
    return f"/api/v1/app/{tenant.uid}/events"


def ids_of(page: dict[str, Any]) -> list[str]:
    return [message["id"] for message in page["data"]]


async def stored(tenant: Tenant, *kinds: dict[str, Any]) -> list[str]:
    """Store messages of an hour ago, a step apart; give their ids."""
    began = rows.now() - timedelta(hours=1)
    return [
        await rows.message(tenant.link, tenant.app_id, began + n * STEP, **kind)
        for n, kind in enumerate(kinds)
    ]


async def test_an_apps_messages_are_read_on_from_the_oldest(
    http: httpx.AsyncClient, tenant: Tenant, desk: Desk
) -> None:
    await stored(await desk.tenant("two"), {}, {})
    sent = await stored(tenant, *[{} for _ in range(5)])
    path = path_of(tenant)

    first = await streamed(http, path, limit=3)
    second = await streamed(http, path, limit=3, iterator=first["iterator"])
    end = await streamed(http, path, iterator=second["iterator"])
    late = await rows.message(tenant.link, tenant.app_id, rows.now() - timedelta(minutes=30))
    more = await streamed(http, path, iterator=sent[-1])
    await stored(tenant)

    assert (ids_of(first), first["done"]) == (sent[:3], False)
    assert (ids_of(second), second["done"]) == (sent[3:], True)
    assert (end["data"], end["iterator"], end["done"]) == ([], second["iterator"], True)
    assert ids_of(more) == [late]
    assert first["data"][0]["payload"] == {"n": 1}


async def test_an_empty_stream_can_be_read_on_too(http: httpx.AsyncClient, tenant: Tenant) -> None:
    path = path_of(tenant)
    empty = await streamed(http, path)

    sent = await stored(tenant, {})

    assert (empty["data"], empty["done"]) == ([], True)
    assert ids_of(await streamed(http, path, iterator=empty["iterator"])) == sent


async def test_filters_and_a_time_narrow_it_down(http: httpx.AsyncClient, tenant: Tenant) -> None:
    sent = await stored(
        tenant,
        {"event_type": "a", "channels": ["x"]},
        {"event_type": "b", "channels": ["y", "z"]},
        {"event_type": "c"},
        {"event_type": "b", "channels": ["x"]},
    )
    path = path_of(tenant)
    after = (await http.get(f"/api/v1/app/{tenant.uid}/msg/{sent[2]}")).json()["timestamp"]

    found = [
        [sent.index(one) for one in ids_of(await streamed(http, path, **query))]
        for query in (
            {"event_types": "a,c"},
            {"channels": "x,z"},
            {"event_types": "b", "channels": ["y", "n"]},
            {"after": after},
            {"after": after, "iterator": sent[0]},
            {"event_types": "nothing"},
        )
    ]

    assert found == [[0, 2], [0, 1, 3], [1], [2, 3], [2, 3], []]


async def test_what_an_earlier_one_may_still_come_before_is_not_given(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    sent = await stored(tenant, {})
    await rows.message(tenant.link, tenant.app_id, rows.now() + timedelta(hours=1))

    page = await streamed(http, path_of(tenant))

    assert (ids_of(page), page["done"]) == (sent, True)


@pytest.mark.parametrize(
    ("status", "query"),
    [
        (422, {"iterator": "msg_none"}),
        (422, {"limit": "251"}),
        (422, {"event_types": "a b"}),
        (422, {"channels": "a b"}),
        (400, {"after": "yesterday"}),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(
    http: httpx.AsyncClient, tenant: Tenant, status: int, query: dict[str, str]
) -> None:
    for path in (path_of(tenant), OPERATORS):
        assert (await http.get(path, params=query)).status_code == status


async def test_what_operators_of_an_environment_are_told_is_a_stream(
    gateway: Gateway, http: httpx.AsyncClient, svix: SvixAsync, services: Services
) -> None:
    url = "https://hooks.example.com/operators"
    await svix.operational_webhook.endpoint.create(OperationalWebhookEndpointIn(url=url))
    app = await svix.application.create(ApplicationIn(name="One"))
    elsewhere = await make_environment(gateway.pool)
    async with dispatching(gateway.pool, services.nats_url):
        made = await svix.endpoint.create(app.id, EndpointIn(url="https://hooks.example.com/in"))

        async def told() -> bool:
            return bool((await streamed(http, OPERATORS))["data"])

        await eventually(told)
    page = await streamed(http, OPERATORS, event_types="endpoint.created")
    none = await streamed(http, OPERATORS, event_types="endpoint.deleted")
    header = {"authorization": f"Bearer {gateway.key}|{elsewhere}"}
    others = (await http.get(OPERATORS, headers=header)).json()

    (message,) = page["data"]
    assert message["eventType"] == "endpoint.created"
    assert message["payload"]["data"]["endpointId"] == made.id
    assert (none["data"], others["data"]) == ([], [])
    operational = app_of(gateway.environment_id)
    assert (await http.get(f"/api/v1/app/{operational}/events")).status_code == 404
