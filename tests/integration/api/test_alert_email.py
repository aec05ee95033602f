"""Where mails about an app's endpoints go, and what an environment says of mails."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.config import GatewayConfig
from schema.api_key import KeyKind
from tests.gateway_server import CONFIG, Gateway, make_key
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "/api/v1/management/environment-settings"


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, mails=True)


@pytest_asyncio.fixture(loop_scope="module")
async def place(tenant: Tenant) -> AsyncIterator[str]:
    yield f"/api/v1/app/{tenant.app_id}/alert-email"


async def test_an_address_is_given_back_until_it_is_cleared(
    http: httpx.AsyncClient, place: str
) -> None:
    shown = []
    for body in ({"email": "a@example.com,b@example.com"}, {}, {"email": None}):
        assert (await http.patch(place, json=body)).status_code == 204
        shown.append((await http.get(place)).json())

    both = {"email": "a@example.com, b@example.com"}
    assert shown == [both, both, {"email": None}]


async def test_what_was_set_goes_before_what_the_metadata_say(
    http: httpx.AsyncClient, place: str, tenant: Tenant
) -> None:
    metadata = {"svix.email": "meta@example.com"}
    await http.patch(f"/api/v1/app/{tenant.app_id}", json={"metadata": metadata})
    shown = []
    for body in ({}, {"email": "set@example.com"}, {"email": None}):
        await http.patch(place, json=body)
        shown.append((await http.get(place)).json()["email"])

    assert shown == ["meta@example.com", "set@example.com", "meta@example.com"]


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@example.com\r\nBcc: b@example.com", 7, ["a@example.com"]]
)
async def test_what_is_no_address_is_refused(
    http: httpx.AsyncClient, place: str, email: Any
) -> None:
    said = await http.patch(place, json={"email": email})

    assert (said.status_code, said.json()["detail"][0]["loc"]) == (422, ["body", "email"])
    assert (await http.get(place)).json() == {"email": None}


async def test_who_sets_an_address_is_audited(
    desk: Desk, http: httpx.AsyncClient, place: str, tenant: Tenant
) -> None:
    await http.patch(place, json={"email": "a@example.com"})

    row = await desk.link.fetchrow(
        "SELECT object, detail FROM audit WHERE action = 'app.set_alert_email'"
        " ORDER BY id DESC LIMIT 1"
    )
    assert dict(row) == {"object": tenant.app_id, "detail": {"email": "a@example.com"}}


async def test_tenants_cannot_have_us_write_to_anybody(
    gateway: Gateway, place: str, tenant: Tenant
) -> None:
    for kind in (KeyKind.APP, KeyKind.PORTAL):
        key = await make_key(gateway.pool, gateway.environment_id, kind=kind, app_id=tenant.app_id)
        said = await gateway.http(key).patch(place, json={"email": "victim@example.com"})
        assert said.status_code == 403


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("applicationAlertEvents", ["endpoint.disabled", "stream.sink.disabled"], 200),
        ("applicationAlertEvents", ["endpoint.disbled"], 422),
        ("applicationAlertEvents", [7], 422),
        ("applicationAlertsDashboardUrl", "https://app.example.com/x?a=1", 200),
        ("applicationAlertsDashboardUrl", None, 200),
        ("applicationAlertsDashboardUrl", "javascript:alert(1)", 422),
        ("applicationAlertsLogoUrl", "https://example.com/a b", 422),
    ],
)
async def test_settings_of_mails_are_what_a_mail_can_hold(
    http: httpx.AsyncClient, name: str, value: Any, status: int
) -> None:
    said = await http.patch(SETTINGS, json={name: value})

    assert said.status_code == status
    if status == 422:
        assert said.json()["detail"][0]["loc"] == ["body", name]
