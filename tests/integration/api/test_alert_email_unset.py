"""An installation that sends no mails takes no addresses for them."""

import httpx
import pytest

from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_without_a_mail_server_an_address_is_refused_and_the_settings_are_named(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    place = f"/api/v1/app/{tenant.app_id}/alert-email"

    said = await http.patch(place, json={"email": "a@example.com"})
    cleared = await http.patch(place, json={"email": None})

    assert (said.status_code, cleared.status_code) == (422, 204)
    assert "HOOKLINE_SMTP_URL and HOOKLINE_MAIL_FROM" in said.json()["detail"][0]["msg"]
