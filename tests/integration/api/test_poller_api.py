"""Messages read by polling, through the official client."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    EventTypeIn,
    MessageIn,
    MessagePollerConsumerPollOptions,
    MessagePollerPollOptions,
    PollingEndpointConsumerSeekIn,
    SvixAsync,
)
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import PollingEndpointOut

from gateway.config import GatewayConfig
from schema.api_key import KeyKind
from schema.store import poller as store
from tests import rows
from tests.dispatching import dispatching, eventually, now
from tests.gateway_server import CONFIG, Gateway, make_key
from tests.services import Services
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
MINUTE = timedelta(minutes=1)
PLAIN: dict[str, Any] = {}
STALE = timedelta(seconds=0.5)  # after which a horizon is read anew
STEP = timedelta(milliseconds=8)  # ids tell times 4 ms apart


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


async def made(http: httpx.AsyncClient, tenant: Tenant, **fields: Any) -> str:
    said = await http.post(f"/api/v1/app/{tenant.app_id}/poller", json=fields)
    assert said.status_code == 201, said.text
    return str(said.json()["id"])


async def polled(svix: SvixAsync, tenant: Tenant, sink: str, **query: Any) -> PollingEndpointOut:
    options = MessagePollerPollOptions(**query)
    return await svix.message.poller.poll(tenant.app_id, sink, options)


async def consumed(svix: SvixAsync, tenant: Tenant, sink: str, **query: Any) -> PollingEndpointOut:
    options = MessagePollerConsumerPollOptions(**query)
    return await svix.message.poller.consumer_poll(tenant.app_id, sink, "c", options)


def ids_of(page: PollingEndpointOut) -> list[str]:
    return [message.id for message in page.data]


async def stored(tenant: Tenant, *kinds: dict[str, Any]) -> list[str]:
    """Store messages, a step apart; give their ids."""
    began = rows.now()
    return [
        await rows.message(tenant.link, tenant.app_id, began + n * STEP, **kind)
        for n, kind in enumerate(kinds)
    ]


async def sees(svix: SvixAsync, tenant: Tenant, sink: str, number: int) -> list[str]:
    """Wait until a poller has so many messages in all."""

    async def enough() -> bool:
        return len(ids_of(await polled(svix, tenant, sink, limit=250))) >= number

    await eventually(enough)
    return ids_of(await polled(svix, tenant, sink, limit=250))


async def test_what_is_published_is_polled_for(
    svix: SvixAsync, gateway: Gateway, tenant: Tenant, sink: str, services: Services
) -> None:
    payload = {"n": 1}
    async with dispatching(gateway.pool, services.nats_url):
        sent = await svix.message.create(
            tenant.app_id,
            MessageIn(event_type="a.b", payload=payload, channels=["x"], event_id="e1"),
        )
        assert await sees(svix, tenant, sink, 1) == [sent.id]

    page = await polled(svix, tenant, sink)
    [message] = page.data
    assert (message.payload, message.event_type, message.event_id) == (payload, "a.b", "e1")
    assert message.channels == ["x"]
    assert page.done
    behind = await polled(svix, tenant, sink, iterator=page.iterator)
    assert (behind.data, behind.iterator, behind.done) == ([], page.iterator, True)


async def test_pages_follow_each_other_until_it_is_done(
    svix: SvixAsync, tenant: Tenant, sink: str
) -> None:
    sent = await stored(tenant, *[PLAIN] * 5)
    await sees(svix, tenant, sink, 5)

    first = await polled(svix, tenant, sink, limit=3)
    second = await polled(svix, tenant, sink, limit=3, iterator=first.iterator)

    assert (ids_of(first), first.done) == (sent[:3], False)
    assert (ids_of(second), second.done) == (sent[3:], True)


async def test_a_poller_begins_when_it_is_made_and_goes_back_with_after(
    svix: SvixAsync, http: httpx.AsyncClient, tenant: Tenant
) -> None:
    old = await rows.message(tenant.link, tenant.app_id, rows.now() - 60 * MINUTE)
    sink = await made(http, tenant)
    [fresh] = await stored(tenant, PLAIN)
    await sees(svix, tenant, sink, 1)

    everything = await polled(svix, tenant, sink, after=rows.now() - 90 * MINUTE)

    assert ids_of(await polled(svix, tenant, sink)) == [fresh]
    assert ids_of(everything) == [old, fresh]


async def test_a_poller_filters_as_an_endpoint_does_and_a_reader_more_closely(
    svix: SvixAsync, http: httpx.AsyncClient, tenant: Tenant
) -> None:
    for name in ("a", "b"):
        await svix.event_type.create(EventTypeIn(name=name, description=""))
    sink = await made(http, tenant, eventTypes=["a", "b"], channels=["x", "y"])
    kinds: list[dict[str, Any]] = [
        {"event_type": "a", "channels": ["x", "z"]},
        {"event_type": "b", "channels": ["y"]},
        {"event_type": "c", "channels": ["x"]},
        {"event_type": "a", "channels": ["z"]},
        {"event_type": "a"},
    ]
    sent = await stored(tenant, *kinds)
    await sees(svix, tenant, sink, 2)

    assert ids_of(await polled(svix, tenant, sink)) == sent[:2]
    assert ids_of(await polled(svix, tenant, sink, event_type="b")) == [sent[1]]
    assert ids_of(await polled(svix, tenant, sink, event_type="c")) == []
    assert ids_of(await polled(svix, tenant, sink, channel="z")) == [sent[0]]


async def test_messages_that_do_not_fit_are_passed_by_some_at_a_time(
    svix: SvixAsync,
    http: httpx.AsyncClient,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MOST_LOOKED", 2)
    await svix.event_type.create(EventTypeIn(name="rare", description=""))
    sink = await made(http, tenant, eventTypes=["rare"])
    await stored(tenant, *[PLAIN] * 3)
    [rare] = await stored(tenant, {"event_type": "rare"})

    found, iterator = list[str](), None

    async def found_it() -> bool:
        nonlocal iterator
        page = await polled(svix, tenant, sink, iterator=iterator)
        found.extend(ids_of(page))
        iterator = page.iterator
        return bool(found)

    await eventually(found_it)
    assert found == [rare]


async def test_a_consumers_place_is_remembered(svix: SvixAsync, tenant: Tenant, sink: str) -> None:
    sent = await stored(tenant, *[PLAIN] * 5)
    await sees(svix, tenant, sink, 5)

    first = await consumed(svix, tenant, sink, limit=2)
    second = await consumed(svix, tenant, sink, limit=2)
    third = await consumed(svix, tenant, sink, limit=2)

    assert ids_of(first) + ids_of(second) + ids_of(third) == sent
    assert ids_of(await consumed(svix, tenant, sink)) == []
    other = await svix.message.poller.consumer_poll(tenant.app_id, sink, "other")
    assert ids_of(other) == sent


async def test_a_consumer_that_hands_back_its_iterator_gets_all_at_least_once(
    svix: SvixAsync, tenant: Tenant, sink: str
) -> None:
    sent = await stored(tenant, *[PLAIN] * 4)
    await sees(svix, tenant, sink, 4)
    first = await consumed(svix, tenant, sink, limit=2)

    in_hand = await consumed(svix, tenant, sink, limit=2, iterator=first.iterator)
    again = await consumed(svix, tenant, sink, limit=2)

    assert ids_of(in_hand) == ids_of(again) == sent[2:]


async def test_a_consumer_seeks(svix: SvixAsync, tenant: Tenant, sink: str) -> None:
    sent = await stored(tenant, *[PLAIN] * 2)
    await sees(svix, tenant, sink, 2)
    await consumed(svix, tenant, sink)

    sought = await svix.message.poller.consumer_seek(
        tenant.app_id, sink, "c", PollingEndpointConsumerSeekIn(after=rows.now() - MINUTE)
    )

    assert sought.iterator.startswith("msg_")
    assert ids_of(await consumed(svix, tenant, sink)) == sent


async def test_a_message_waits_while_an_earlier_event_is_not_a_row(
    gateway: Gateway, tenant: Tenant, sink: str, bus: Client, services: Services
) -> None:
    svix = gateway.svix()
    await bus.jetstream().publish(f"events.{tenant.app_id}.late", b"{}")
    [row] = await stored(tenant, PLAIN)
    stored_at = now()
    await eventually(lambda: now() - stored_at > 2 * STALE)

    held = await polled(svix, tenant, sink)
    async with dispatching(gateway.pool, services.nats_url):
        both = await sees(svix, tenant, sink, 2)

    assert (held.data, held.done) == ([], True)
    assert row in both


async def test_pollers_are_listed_changed_and_deleted(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    base = f"/api/v1/app/{tenant.app_id}/poller"
    sink = await made(http, tenant, uid="mine", description="x", channels=["a"])

    changed = await http.patch(f"{base}/mine", json={"channels": None, "description": "y"})
    taken = await http.post(base, json={"uid": "mine"})
    unknown = await http.post(base, json={"eventTypes": ["nothing"]})
    listed = (await http.get(base)).json()["data"]
    await http.get(f"{base}/mine/consumer/c")
    gone = await http.delete(f"{base}/mine")

    assert (changed.json()["channels"], changed.json()["description"]) == (None, "y")
    assert (taken.status_code, unknown.status_code) == (409, 422)
    assert [one["id"] for one in listed] == [sink]
    assert gone.status_code == 204
    assert (await http.get(f"{base}/mine")).status_code == 404
    assert (await http.get(f"{base}/mine/consumer/c")).status_code == 404


async def test_another_apps_poller_is_none_of_ours(
    gateway: Gateway, svix: SvixAsync, desk: Desk, tenant: Tenant, sink: str
) -> None:
    other = await desk.tenant("two")
    key = await make_key(
        gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=other.app_id
    )

    with pytest.raises(HttpError) as foreign:
        await polled(gateway.svix(key), tenant, sink)
    with pytest.raises(HttpError) as elsewhere:
        await polled(svix, other, sink)
    with pytest.raises(HTTPValidationError):
        await polled(svix, tenant, sink, iterator="msg_none")

    assert (foreign.value.status_code, elsewhere.value.status_code) == (404, 404)
