"""Operational endpoints by Svix's own client; what is told of changes; what nobody else sees."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    EndpointHeadersIn,
    EndpointIn,
    EndpointPatch,
    EndpointUpsertIn,
    OperationalWebhookEndpointListOptions,
)
from svix.api.operational_webhook_endpoint import OperationalWebhookEndpointAsync
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    OperationalWebhookEndpointHeadersIn,
    OperationalWebhookEndpointIn,
    OperationalWebhookEndpointSecretIn,
    OperationalWebhookEndpointUpsertIn,
)

from schema.operational import app_of
from schema.store.link import Pool
from tests import rows
from tests.gateway_server import Gateway, make_environment, make_key, serve
from tests.operators import told

URL = "https://ops.example.com/hooks"
ROOT = "/api/v1/operational-webhook"


@pytest_asyncio.fixture
async def gateway(pool: Pool, bus: Client) -> AsyncIterator[Gateway]:
    async with serve(pool, bus) as running:
        yield running


def operators(gateway: Gateway) -> OperationalWebhookEndpointAsync:
    return gateway.svix().operational_webhook.endpoint


async def test_svixs_client_makes_reads_changes_and_deletes_operational_endpoints(
    gateway: Gateway,
) -> None:
    client = operators(gateway)

    assert (await client.list()).data == []
    made = await client.create(
        OperationalWebhookEndpointIn(
            url=URL, uid="ops", description="d", throttle_rate=5, metadata={"team": "a"},
            event_types=["endpoint.disabled", "alert.raised"],
        )
    )  # fmt: skip
    found = await client.get("ops")
    replaced = await client.upsert(
        made.id, OperationalWebhookEndpointUpsertIn(url=f"{URL}2", uid="ops", disabled=True)
    )
    listed = await client.list(OperationalWebhookEndpointListOptions(limit=1))
    await client.delete(made.id)

    assert found == made
    assert (made.event_types, made.throttle_rate, made.metadata) == (
        ["endpoint.disabled", "alert.raised"], 5, {"team": "a"},
    )  # fmt: skip
    assert (replaced.url, replaced.disabled, replaced.event_types) == (f"{URL}2", True, None)
    assert [endpoint.id for endpoint in listed.data] == [made.id]
    with pytest.raises(HttpError) as gone:
        await client.get(made.id)
    assert gone.value.status_code == 404


async def test_svixs_client_reads_and_rotates_secrets_and_sets_headers(gateway: Gateway) -> None:
    client = operators(gateway)
    made = await client.create(OperationalWebhookEndpointIn(url=URL))
    first = await client.get_secret(made.id)
    mine = "whsec_" + "A" * 32

    await client.rotate_secret(made.id, OperationalWebhookEndpointSecretIn(key=mine))
    await client.set_headers(
        made.id, OperationalWebhookEndpointHeadersIn(headers={"X-Team": "a", "Authorization": "b"})
    )

    assert first.key.startswith("whsec_")
    assert (await client.get_secret(made.id)).key == mine
    headers = await client.get_headers(made.id)
    assert (headers.headers, headers.sensitive) == ({"X-Team": "a"}, ["Authorization"])


async def test_an_operational_endpoint_filters_by_operational_events_alone(
    gateway: Gateway,
) -> None:
    with pytest.raises(HTTPValidationError):
        await operators(gateway).create(
            OperationalWebhookEndpointIn(url=URL, event_types=["user.created"])
        )


async def test_the_operational_app_is_nowhere_to_be_seen(gateway: Gateway, pool: Pool) -> None:
    svix = gateway.svix()
    app = await svix.application.create(ApplicationIn(name="one"))
    await operators(gateway).create(OperationalWebhookEndpointIn(url=URL))
    hidden = app_of(gateway.environment_id)
    assert await pool.fetchval("SELECT kind FROM app WHERE id = $1", hidden) == "operational"

    async with gateway.http() as http:
        apps = (await http.get("/api/v1/app")).json()["data"]
        answers = [
            await http.request(method, path, json={"name": "x", "url": URL})
            for method, path in (
                ("GET", f"/api/v1/app/{hidden}"),
                ("PATCH", f"/api/v1/app/{hidden}"),
                ("DELETE", f"/api/v1/app/{hidden}"),
                ("GET", f"/api/v1/app/{hidden}/endpoint"),
                ("POST", f"/api/v1/app/{hidden}/endpoint"),
                ("GET", f"/api/v1/app/{hidden}/msg"),
                ("POST", f"/api/v1/app/{hidden}/msg"),
                ("GET", f"/api/v1/app/{hidden}/dead-letter"),
                ("GET", f"/api/v1/dead-letter?app_id={hidden}"),
            )
        ]

    assert [found["id"] for found in apps] == [app.id]
    assert [answered.status_code for answered in answers] == [404] * len(answers)


async def test_letters_of_operational_endpoints_are_shown_to_operators_under_their_own_path(
    gateway: Gateway, pool: Pool
) -> None:
    endpoint = await operators(gateway).create(OperationalWebhookEndpointIn(url=URL))
    app_id = app_of(gateway.environment_id)
    async with pool.acquire() as link:
        message_id = await rows.message(link, app_id, event_type="alert.raised")
        await rows.attempt(link, app_id, message_id, endpoint.id, 500)
        letter_id = await rows.letter(
            link, app_id, message_id, endpoint.id, environment_id=None
        )  # as the dispatcher parks it

    async with gateway.http() as http:
        everywhere = (await http.get("/api/v1/dead-letter")).json()["data"]
        groups = (await http.get("/api/v1/dead-letter-group")).json()["data"]
        own = (await http.get(f"{ROOT}/dead-letter")).json()["data"]
        attempts = (await http.get(f"{ROOT}/attempt/endpoint/{endpoint.id}")).json()["data"]
        discarded = await http.post(f"{ROOT}/dead-letter/{letter_id}/discard")

    assert everywhere == groups == []
    assert [letter["id"] for letter in own] == [letter_id]
    assert [attempt["msgId"] for attempt in attempts] == [message_id]
    assert discarded.status_code == 204


async def test_environments_have_operational_endpoints_of_their_own(
    gateway: Gateway, pool: Pool
) -> None:
    made = await operators(gateway).create(OperationalWebhookEndpointIn(url=URL))
    other = await make_key(pool, await make_environment(pool))

    client = gateway.svix(other).operational_webhook.endpoint

    assert (await client.list()).data == []
    with pytest.raises(HttpError):
        await client.get(made.id)


async def test_what_is_done_to_an_endpoint_is_told_in_svixs_words(
    gateway: Gateway, pool: Pool
) -> None:
    await operators(gateway).create(OperationalWebhookEndpointIn(url=URL))
    svix = gateway.svix()
    app = await svix.application.create(ApplicationIn(name="one", uid="acme"))
    made = await svix.endpoint.create(app.id, EndpointIn(url=URL, uid="e1"))

    await svix.endpoint.upsert(app.id, made.id, EndpointUpsertIn(url=f"{URL}2", uid="e1"))
    await svix.endpoint.patch(app.id, made.id, EndpointPatch(disabled=True))
    await svix.endpoint.patch(app.id, made.id, EndpointPatch(disabled=False))
    await svix.endpoint.set_headers(app.id, made.id, EndpointHeadersIn(headers={"X-A": "b"}))
    await svix.endpoint.delete(app.id, made.id)

    notices = await told(pool)
    assert [notice["kind"] for notice in notices] == [
        "endpoint.created", "endpoint.updated", "endpoint.updated", "endpoint.disabled",
        "endpoint.updated", "endpoint.enabled", "endpoint.updated", "endpoint.deleted",
    ]  # fmt: skip
    place = {"appId": app.id, "appUid": "acme", "endpointId": made.id, "endpointUid": "e1"}
    disabled = {"trigger": "manual", "reason": "by_request", "failSince": None}
    for notice in notices:
        more = disabled if notice["kind"] == "endpoint.disabled" else {}
        assert notice["data"] == place | more
    assert {tuple(notice["channels"]) for notice in notices} == {(app.id, "acme")}


async def test_what_is_done_to_an_operational_endpoint_is_told_to_nobody(
    gateway: Gateway, pool: Pool
) -> None:
    client = operators(gateway)
    await client.create(OperationalWebhookEndpointIn(url=URL))
    made = await client.create(OperationalWebhookEndpointIn(url=URL))
    await client.delete(made.id)

    assert await told(pool) == []


async def rule(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    """Make an alert rule."""
    body = {"name": "many", "kind": "parked_count", "threshold": 10} | fields
    async with gateway.http() as http:
        answered = await http.post("/api/v1/alert-rule", json=body)
    assert answered.status_code == 201, answered.text
    made: dict[str, Any] = answered.json()
    return made


async def test_an_environment_starts_with_rules_and_gets_more(gateway: Gateway) -> None:
    made = await rule(gateway, windowSeconds=60, leastAttempts=3, clearBelow=2)

    async with gateway.http() as http:
        pages = [(await http.get("/api/v1/alert-rule?limit=3")).json()]
        after = pages[0]["iterator"]
        pages.append((await http.get(f"/api/v1/alert-rule?limit=3&iterator={after}")).json())

    assert [len(page["data"]) for page in pages] == [3, 2]
    assert pages[1]["data"][-1] == made
    assert (made["clearBelow"], made["windowSeconds"], made["leastAttempts"]) == (2, 60, 3)
    assert (made["enabled"], made["apps"], made["raisedAt"]) == (True, None, None)


async def test_a_rule_that_says_null_is_cleared_where_one_that_says_nothing_is(
    gateway: Gateway,
) -> None:
    made = await rule(gateway, clearBelow=None, windowSeconds=None, leastAttempts=None, apps=None)

    assert (made["clearBelow"], made["windowSeconds"], made["leastAttempts"]) == (8, 300, 20)


async def test_a_rule_is_replaced_changed_and_deleted(gateway: Gateway) -> None:
    svix = gateway.svix()
    app = await svix.application.create(ApplicationIn(name="one", uid="acme"))
    path = f"/api/v1/alert-rule/{(await rule(gateway))['id']}"

    async with gateway.http() as http:
        changed = (await http.patch(path, json={"apps": ["acme"], "enabled": False})).json()
        replaced = (
            await http.put(path, json={"name": "n", "kind": "failure_percent", "threshold": 90})
        ).json()
        deleted = await http.delete(path)
        gone = await http.get(path)

    assert (changed["apps"], changed["enabled"], changed["threshold"]) == ([app.id], False, 10)
    assert (replaced["kind"], replaced["threshold"], replaced["clearBelow"]) == (
        "failure_percent", 90, 72,
    )  # fmt: skip
    assert (replaced["apps"], replaced["enabled"]) == (None, True)
    assert (deleted.status_code, gone.status_code) == (204, 404)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "other"}, "kind"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"kind": "failure_percent", "threshold": 101}, "threshold"),
        ({"clearBelow": 11}, "clearBelow"),
        ({"windowSeconds": 59}, "windowSeconds"),
        ({"name": ""}, "name"),
        ({"apps": []}, "apps"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(
    gateway: Gateway, fields: dict[str, object], field: str
) -> None:
    body = {"name": "many", "kind": "parked_count", "threshold": 10} | fields

    async with gateway.http() as http:
        answered = await http.post("/api/v1/alert-rule", json=body)

    assert answered.status_code == 422
    assert field in {fault["loc"][-1] for fault in answered.json()["detail"]}


async def test_a_rule_says_for_whom_it_is_raised_and_tells_that_it_is_over_when_deleted(
    gateway: Gateway, pool: Pool
) -> None:
    await operators(gateway).create(OperationalWebhookEndpointIn(url=URL))
    app = await gateway.svix().application.create(ApplicationIn(name="one", uid="acme"))
    made = await rule(gateway)
    await pool.execute("UPDATE alert_rule SET raised_at = now() WHERE id = $1", made["id"])
    await pool.execute(
        """INSERT INTO alert (environment_id, rule_id, app_id, value, raised_at, told)
           VALUES ($1, $2, $3, 12, now(), true)""",
        gateway.environment_id, made["id"], app.id,
    )  # fmt: skip

    async with gateway.http() as http:
        shown = (await http.get(f"/api/v1/alert-rule/{made['id']}")).json()
        await http.delete(f"/api/v1/alert-rule/{made['id']}")

    (alert,) = shown["alerts"]
    assert (alert["appId"], alert["appUid"], alert["value"]) == (app.id, "acme", 12)
    assert shown["raisedAt"] is not None
    (notice,) = await told(pool)
    assert (notice["kind"], notice["data"]["open"]) == ("alert.cleared", 0)
    assert notice["data"]["rule"]["id"] == made["id"]
    assert await pool.fetchval("SELECT count(*) FROM alert") == 0


async def test_a_scrape_tells_what_waits_what_is_raised_and_how_old_the_oldest_letter_is(
    gateway: Gateway, pool: Pool, stream: str
) -> None:
    assert stream
    await operators(gateway).create(OperationalWebhookEndpointIn(url=URL))
    app = await gateway.svix().application.create(ApplicationIn(name="one"))
    made = await gateway.svix().endpoint.create(app.id, EndpointIn(url=URL))
    await pool.execute("UPDATE alert_rule SET raised_at = now() WHERE kind = 'parked_count'")
    async with pool.acquire() as link:
        for hours in (1, 3):
            at = rows.now() - timedelta(hours=hours)
            message_id = await rows.message(link, app.id, at)
            await rows.letter(link, app.id, message_id, made.id, at)

    async with gateway.http() as http:
        lines = (await http.get("/metrics")).text.splitlines()

    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    # That the endpoint was made, and that its group opened.
    assert float(values["hookline_operational_events_waiting"]) == 2
    assert float(values["hookline_alerts_raised"]) == 1
    assert 3 * 3_600 <= float(values["hookline_oldest_parked_seconds"]) < 3 * 3_600 + 60
