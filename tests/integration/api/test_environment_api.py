"""Environments exported, imported and set, through the official client where it can."""

from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from svix.api import ApplicationIn, EndpointIn, EndpointPatch, EnvironmentIn, EventTypeIn, SvixAsync
from svix.exceptions import HttpError, HTTPValidationError

from schema.api_key import KeyKind
from tests.dispatching import eventually
from tests.gateway_server import Gateway, make_environment, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "/api/v1/management/environment-settings"
HTTP, HTTPS = "http://hooks.example.com/", "https://hooks.example.com/"


async def faulty(call: Awaitable[object]) -> list[list[str]]:
    with pytest.raises(HTTPValidationError) as raised:
        await call
    return [fault.loc for fault in raised.value.detail]


async def set_to(http: httpx.AsyncClient, **settings: Any) -> dict[str, Any]:
    said = await http.patch(SETTINGS, json=settings)
    assert said.status_code == 200, said.text
    return dict(said.json())


async def test_what_was_exported_is_imported_elsewhere(
    gateway: Gateway, svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    await svix.event_type.create(
        EventTypeIn(name="a", description="A", schemas={"1": {"type": "object"}})
    )
    await svix.event_type.create(EventTypeIn(name="b", description="B", archived=True))
    await http.patch("/api/v1/event-type/a", json={"schemaMode": "warn", "retryPolicy": [7]})
    await set_to(http, displayName="Acme", retryPolicy=[1, 60])
    other = await make_environment(gateway.pool)
    elsewhere = {"authorization": f"Bearer {gateway.key}|{other}"}

    exported = await svix.environment.export()
    document = (await http.post("/api/v1/environment/export")).json()
    imported = await http.post("/api/v1/environment/import", json=document, headers=elsewhere)

    assert imported.status_code == 204
    assert exported.version == 1
    assert [one.name for one in exported.event_types] == ["a", "b"]
    assert exported.settings == {"displayName": "Acme", "retryPolicy": [1, 60]}
    again = (await http.post("/api/v1/environment/export", headers=elsewhere)).json()
    assert again["settings"] == document["settings"]
    shown = [
        [
            (one["name"], one["schemas"], one["schemaMode"], one["archived"], one["retryPolicy"])
            for one in of
        ]
        for of in (document["eventTypes"], again["eventTypes"])
    ]
    assert shown[0] == shown[1]
    assert shown[0][0][-1] == [7]


async def test_an_import_counts_as_a_whole_or_not_at_all(svix: SvixAsync) -> None:
    well = EventTypeIn(name="well", description="")
    bad = EnvironmentIn(
        event_types=[well, EventTypeIn(name="b", description="", schemas={"1": {"type": 7}})],
        settings={"enforceHttps": "yes"},
    )

    where = await faulty(svix.environment.import_(bad))

    assert where == [["body", "eventTypes", "[1]", "schemas"], ["body", "settings", "enforceHttps"]]
    assert (await svix.event_type.list()).data == []
    await svix.environment.import_(EnvironmentIn(event_types=[well]))
    assert [one.name for one in (await svix.event_type.list()).data] == ["well"]


async def test_an_import_that_has_an_event_type_twice_is_refused(svix: SvixAsync) -> None:
    twice = [EventTypeIn(name="well", description=text) for text in ("one", "other")]

    where = await faulty(svix.environment.import_(EnvironmentIn(event_types=twice)))

    assert where == [["body", "eventTypes", "[1]", "name"]]
    assert (await svix.event_type.list()).data == []


async def test_connectors_are_refused_rather_than_left_out(http: httpx.AsyncClient) -> None:
    said = await http.post("/api/v1/environment/import", json={"connectors": [{"name": "x"}]})

    assert said.status_code == 422


async def test_settings_are_kept_given_back_and_cleared(http: httpx.AsyncClient) -> None:
    fresh = (await http.get(SETTINGS)).json()
    put = await http.put(
        SETTINGS, json={"displayName": "Acme", "retryPolicy": [5], "inventedLater": {"a": 1}}
    )
    patched = await set_to(http, displayName=None, enableChannels=True)
    replaced = await http.put(SETTINGS, json={})

    assert (fresh["disableEndpointOnFailure"], fresh["enforceHttps"]) == (True, False)
    assert (fresh["retryPolicy"], fresh["displayName"]) == (None, None)
    assert put.json()["displayName"] == "Acme"
    assert (patched["displayName"], patched["enableChannels"]) == (None, True)
    assert (patched["retryPolicy"], patched["inventedLater"]) == ([5], {"a": 1})
    assert replaced.json() == fresh


async def test_settings_that_cannot_be_are_told_all_at_once(http: httpx.AsyncClient) -> None:
    said = await http.patch(SETTINGS, json={"enforceHttps": None, "retryPolicy": "often"})

    assert said.status_code == 422
    assert [fault["loc"] for fault in said.json()["detail"]] == [
        ["body", "enforceHttps"],
        ["body", "retryPolicy"],
    ]


async def test_tenants_are_shown_some_of_the_settings(
    gateway: Gateway, svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    await set_to(http, displayName="Acme", customLogoUrl=HTTPS, enforceHttps=True)
    app = await svix.application.create(ApplicationIn(name="One"))
    key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app.id)

    said = await gateway.http(key).get("/api/v1/environment/settings")
    refused = await gateway.http(key).get(SETTINGS)

    shown = said.json()
    assert (shown["displayName"], shown["logoUrl"]) == ("Acme", HTTPS)
    assert "enforceHttps" not in shown
    assert refused.status_code == 403


async def test_an_environment_may_ask_more_of_its_endpoints(
    svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    app = await svix.application.create(ApplicationIn(name="One"))
    before = await svix.endpoint.create(app.id, EndpointIn(url=HTTP))
    await set_to(http, enforceHttps=True, requireEndpointChannel=True, endpointsPerAppLimit=2)

    async def counts() -> bool:
        said = await http.post(f"/api/v1/app/{app.id}/endpoint", json={"url": HTTP})
        return said.status_code == 422

    await eventually(counts)
    where = await faulty(svix.endpoint.create(app.id, EndpointIn(url=HTTP)))
    kept = await svix.endpoint.patch(app.id, before.id, EndpointPatch(description="x"))
    made = await svix.endpoint.create(app.id, EndpointIn(url=HTTPS, channels=["a"]))
    with pytest.raises(HttpError) as full:
        await svix.endpoint.create(app.id, EndpointIn(url=HTTPS, channels=["a"]))

    assert where == [["body", "url"], ["body", "channels"]]
    assert (kept.url, made.channels) == (HTTP, ["a"])
    assert (full.value.status_code, full.value.code) == (400, "limit_reached")
    assert await faulty(svix.endpoint.patch(app.id, made.id, EndpointPatch(channels=None))) == [
        ["body", "channels"]
    ]
