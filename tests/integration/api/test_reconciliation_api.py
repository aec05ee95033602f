"""What was accepted against what became of it, by API."""

from datetime import date, timedelta

import httpx
import pytest

from schema.api_key import KeyKind
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.tenants import Desk, Tenant, another_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = "/api/v1/reconciliation"
TODAY = date(2026, 5, 6)


async def counted(tenant: Tenant, day: date, *, accepted: int = 9, **other: object) -> None:
    row: dict[str, object] = {
        "day": day,
        "app_id": tenant.app_id,
        "environment_id": tenant.environment_id,
        "accepted": accepted,
        "delivered": 4,
        "owed": 2,
        "dead": 1,
        "cancelled": 1,
        "expired": 1,
        "counted_at": rows.now(),
    }
    await rows._insert(tenant.link, "reconciliation", row | other)


async def listed(http: httpx.AsyncClient, **query: object) -> list[dict[str, object]]:
    answered = await http.get(ALL, params=query)
    assert answered.status_code == 200, answered.text
    shown: list[dict[str, object]] = answered.json()["data"]
    return shown


async def test_a_day_shows_its_terms_as_they_were_counted(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    await counted(tenant, TODAY, accepted=12, difference=2, due_at=rows.now())

    (shown,) = await listed(http)

    assert shown.pop("countedAt") is not None
    assert shown == {
        "day": "2026-05-06", "appId": tenant.app_id, "appUid": shown["appUid"],
        "accepted": 11, "delivered": 4, "owed": 2, "dead": 1, "cancelled": 1, "expired": 1,
        "difference": 2, "closed": False,
    }  # fmt: skip


async def test_days_come_in_pages_and_windows_newest_first(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    days = [TODAY - timedelta(days=n) for n in range(5)]
    for day in days:
        await counted(tenant, day)

    first = (await http.get(ALL, params={"limit": 2})).json()
    second = (await http.get(ALL, params={"limit": 2, "iterator": first["iterator"]})).json()
    back = (await http.get(ALL, params={"limit": 2, "iterator": second["prevIterator"]})).json()
    window = {"after": "2026-05-03T00:00:00Z", "before": "2026-05-05T12:00:00Z"}

    assert [one["day"] for one in (*first["data"], *second["data"])] == [str(d) for d in days[:4]]
    assert back["data"] == first["data"]
    assert [one["day"] for one in await listed(http, **window)] == ["2026-05-04", "2026-05-03"]
    oldest = await listed(http, order="ascending", limit=1)
    assert oldest[0]["day"] == str(days[-1])
    assert (await http.get(ALL, params={"iterator": "2026-05-06:x"})).status_code == 422


async def test_those_of_an_app_or_that_do_not_add_up_are_found(
    http: httpx.AsyncClient, desk: Desk, tenant: Tenant
) -> None:
    other = await desk.tenant("two")
    await counted(tenant, TODAY)
    await counted(other, TODAY, difference=-1)

    assert [one["appId"] for one in await listed(http, app_id=tenant.app_id)] == [tenant.app_id]
    assert [one["appId"] for one in await listed(http, differing="true")] == [other.app_id]
    assert (await http.get(ALL, params={"app_id": "nobody"})).status_code == 404


async def test_each_environment_sees_its_own_and_keys_of_apps_nothing(
    http: httpx.AsyncClient, tenant: Tenant, shared: Gateway
) -> None:
    await counted(tenant, TODAY)
    async with another_desk(shared) as elsewhere:
        assert await listed(elsewhere.gateway.http()) == []
    app_key = await make_key(
        shared.pool, tenant.environment_id, kind=KeyKind.APP, app_id=tenant.app_id
    )

    refused = await http.get(ALL, headers={"authorization": f"Bearer {app_key}"})

    assert refused.status_code == 403
