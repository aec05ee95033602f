"""How endpoints fare, by API: their states with who and why, and what an outage cost."""

from datetime import datetime, timedelta

import httpx
import pytest

from schema.api_key import KeyKind
from schema.delivery import State
from tests import rows
from tests.gateway_server import Gateway, make_key
from tests.tenants import Desk, Tenant, another_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = "/api/v1/endpoint-health"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def path(tenant: Tenant, endpoint_id: str | None = None) -> str:
    return f"/api/v1/app/{tenant.app_id}/endpoint/{endpoint_id or tenant.endpoint_id}"


async def got(http: httpx.AsyncClient, where: str, **query: object) -> dict[str, object]:
    answered = await http.get(where, params=query)
    assert answered.status_code == 200, answered.text
    shown: dict[str, object] = answered.json()
    return shown


async def patched(http: httpx.AsyncClient, tenant: Tenant, **fields: object) -> dict[str, object]:
    answered = await http.patch(path(tenant), json=fields)
    assert answered.status_code == 200, answered.text
    shown: dict[str, object] = answered.json()
    return shown


async def rolled(tenant: Tenant, ago: timedelta, *, delivered: int, failed: int) -> None:
    await tenant.link.execute(
        """INSERT INTO rollup_minute (app_id, endpoint_id, bucket, delivered, no_answer)
           VALUES ($1, $2, date_trunc('minute', $3::timestamptz), $4, $5)""",
        tenant.app_id, tenant.endpoint_id, rows.now() - ago, delivered, failed,
    )  # fmt: skip


async def fails(tenant: Tenant, since: datetime, **other: object) -> None:
    """Have it known that the endpoint has been failing since a time."""
    columns = {
        "app_id": tenant.app_id,
        "endpoint_id": tenant.endpoint_id,
        "environment_id": tenant.environment_id,
        "state": "failing",
        "state_at": since + 5 * MINUTE,
        "state_by": "hookline",
        "reason": "only_failures",
        "failing_since": since,
        "last_failed_at": rows.now(),
        "failures": 40,
        "outage_at": since,
    } | other
    await rows._insert(tenant.link, "endpoint_health", columns)


def moment(shown: object) -> datetime:
    return datetime.fromisoformat(str(shown))


async def test_an_endpoint_that_nothing_happened_to_is_healthy_since_it_was_made(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    shown = await got(http, f"{path(tenant)}/health")
    endpoint = await got(http, path(tenant))

    assert shown == {
        "appId": tenant.app_id,
        "endpointId": tenant.endpoint_id,
        "state": "healthy",
        "since": endpoint["createdAt"],
        "by": None,
        "keyId": None,
        "reason": "",
        "failingSince": None,
        "lastFailedAt": None,
        "failures": 0,
        "warnedAt": None,
        "disableAt": None,
        "last15Minutes": {"delivered": 0, "failed": 0, "successRatio": None},
        "last24Hours": {"delivered": 0, "failed": 0, "successRatio": None},
        "owed": 0,
        "dead": 0,
        "recovery": None,
    }
    assert (await got(http, f"{path(tenant)}/health/history"))["data"] == []


async def test_health_counts_attempts_of_a_quarter_hour_and_a_day_and_what_is_owed_and_dead(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    await rolled(tenant, 2 * MINUTE, delivered=3, failed=1)
    await rolled(tenant, 20 * MINUTE, delivered=1, failed=3)
    await rolled(tenant, DAY + HOUR, delivered=100, failed=100)
    for state in (State.PENDING, State.RETRYING, State.DELIVERED):
        await tenant.owed(state)
    await tenant.parked()

    shown = await got(http, f"{path(tenant)}/health")

    assert shown["last15Minutes"] == {"delivered": 3, "failed": 1, "successRatio": 0.75}
    assert shown["last24Hours"] == {"delivered": 4, "failed": 4, "successRatio": 0.5}
    assert (shown["owed"], shown["dead"]) == (2, 1)


async def test_what_is_paused_disabled_and_enabled_says_by_which_key(
    http: httpx.AsyncClient, gateway: Gateway, tenant: Tenant
) -> None:
    whoami = await tenant.link.fetchval(
        "SELECT id FROM api_key WHERE environment_id = $1 AND app_id IS NULL", tenant.environment_id
    )
    owner = gateway.http(
        await make_key(gateway.pool, tenant.environment_id, kind=KeyKind.APP, app_id=tenant.app_id)
    )
    owners = await tenant.link.fetchval("SELECT id FROM api_key WHERE app_id = $1", tenant.app_id)
    await patched(http, tenant, paused=True)
    await patched(http, tenant, description="nothing of its state")
    await patched(owner, tenant, disabled=True)
    shown = await got(http, f"{path(tenant)}/health")
    enabled = await patched(http, tenant, disabled=False)

    history = await got(http, f"{path(tenant)}/health/history", order="ascending")

    assert (shown["state"], shown["by"], shown["keyId"]) == ("disabled", "key", owners)
    assert enabled["disabled"] is False
    assert "recovery" not in enabled
    assert [
        (one["from"], one["to"], one["by"], one["keyId"], one["reason"])
        for one in history["data"]  # type: ignore[attr-defined]
    ] == [
        ("healthy", "paused", "key", whoami, "by_request"),
        ("paused", "disabled", "key", owners, "by_request"),
        ("disabled", "healthy", "key", whoami, "by_request"),
    ]
    after = await got(http, f"{path(tenant)}/health")
    assert (after["state"], after["keyId"]) == ("healthy", whoami)


async def test_one_that_is_made_disabled_says_by_which_key(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await http.post(
        f"/api/v1/app/{tenant.app_id}/endpoint",
        json={"url": "https://hooks.example.com/", "disabled": True},
    )

    where = f"{path(tenant, made.json()['id'])}/health"
    (change,) = (await got(http, f"{where}/history"))["data"]  # type: ignore[misc]

    assert (change["from"], change["to"], change["by"]) == (None, "disabled", "key")
    assert change["keyId"] is not None
    assert (await got(http, where))["keyId"] == change["keyId"]


async def test_a_failing_endpoint_says_when_it_would_be_disabled(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    since = rows.now() - 4 * DAY
    await fails(tenant, since, warned_at=since + 4 * DAY + HOUR)

    shown = await got(http, f"{path(tenant)}/health")

    assert (shown["state"], shown["by"], shown["reason"]) == (
        "failing",
        "hookline",
        "only_failures",
    )
    assert (moment(shown["failingSince"]), shown["failures"]) == (since, 40)
    assert moment(shown["disableAt"]) == since + 5 * DAY + HOUR  # a day after the warning


async def test_disabled_and_enabled_again_an_endpoint_tells_what_its_outage_cost(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    """Letters of before the outage are not among it; a message may be older than the outage."""
    since = rows.now() - 2 * DAY
    await tenant.parked(since - 5 * HOUR)
    old = since - HOUR
    message_id = await rows.message(tenant.link, tenant.app_id, old)
    await rows.delivery(
        tenant.link, tenant.app_id, message_id, tenant.endpoint_id, State.DEAD, reason="exhausted"
    )
    await rows.letter(tenant.link, tenant.app_id, message_id, tenant.endpoint_id, since + HOUR)
    for _ in range(3):
        await tenant.parked(since + DAY)
    await tenant.parked(since + DAY, endpoint_id=tenant.other_id)
    await tenant.owed(State.RETRYING)
    await fails(tenant, since)

    told = [(await got(http, f"{path(tenant)}/health"))["recovery"]]
    for disabled in (True, False):
        await patched(http, tenant, disabled=disabled)
        told.append((await got(http, f"{path(tenant)}/health"))["recovery"])

    assert told[0] == told[1] == told[2]
    recovery = told[0]
    assert isinstance(recovery, dict)
    assert moment(recovery["outageSince"]) == since
    assert (recovery["retried"], recovery["dead"]) == (1, 4)
    request = recovery["request"]
    assert (request["method"], request["path"]) == ("POST", f"{path(tenant)}/recover")
    assert old - timedelta(milliseconds=4) <= moment(request["body"]["since"]) <= old


async def test_the_outage_of_one_that_was_healthy_begins_when_it_is_disabled(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    await patched(http, tenant, disabled=True)

    shown = await got(http, f"{path(tenant)}/health")

    assert isinstance(shown["recovery"], dict)
    assert shown["recovery"]["outageSince"] == shown["since"]


async def test_the_history_comes_by_pages_newest_first(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    for paused in (True, False, True, False, True):
        await patched(http, tenant, paused=paused)
    where = f"{path(tenant)}/health/history"

    first = await got(http, where, limit=2)
    second = await got(http, where, limit=2, iterator=first["iterator"])
    last = await got(http, where, limit=2, iterator=second["iterator"])
    back = await got(http, where, limit=2, iterator=second["prevIterator"])

    pages = [[one["to"] for one in page["data"]] for page in (first, second, last, back)]  # type: ignore[attr-defined]
    assert pages == [
        ["paused", "healthy"],
        ["paused", "healthy"],
        ["paused"],
        ["paused", "healthy"],
    ]
    assert [page["done"] for page in (first, second, last)] == [False, False, True]
    assert back["data"] == first["data"]
    refused = await http.get(where, params={"iterator": "x"})
    assert refused.status_code == 422


async def test_an_operator_sees_all_endpoints_that_are_not_healthy_and_no_others(
    http: httpx.AsyncClient, desk: Desk, shared: Gateway
) -> None:
    one, two, three = [await desk.tenant(uid) for uid in ("one", "two", "three")]
    await fails(one, rows.now() - HOUR)
    await patched(http, two, disabled=True)
    await patched(http, three, paused=True)
    await patched(http, three, paused=False)
    async with another_desk(shared) as elsewhere:
        stranger = await elsewhere.tenant("stranger")
        await patched(elsewhere.gateway.http(), stranger, disabled=True)

        everything = await got(http, ALL)
        failing = await got(http, ALL, state="failing")
        neither = await got(http, ALL, state="paused,degraded")
        paged = await got(http, ALL, limit=1)

    shown = [(d["appUid"], d["endpointUid"], d["state"]) for d in everything["data"]]  # type: ignore[attr-defined]
    assert sorted(shown) == [("one", "e1", "failing"), ("two", "e1", "disabled")]
    assert [d["appUid"] for d in failing["data"]] == ["one"]  # type: ignore[attr-defined]
    assert neither["data"] == []
    rest = await got(http, ALL, limit=1, iterator=paged["iterator"])
    assert [*paged["data"], *rest["data"]] == everything["data"]  # type: ignore[misc]
    assert (paged["done"], rest["done"]) == (False, True)


@pytest.mark.parametrize("state", ["healthy", "unwell"])
async def test_a_state_that_is_not_listed_is_refused(http: httpx.AsyncClient, state: str) -> None:
    answered = await http.get(ALL, params={"state": state})

    assert answered.status_code == 422
    assert answered.json()["detail"][0]["loc"] == ["query", "state"]


async def test_what_is_deleted_is_not_listed(http: httpx.AsyncClient, tenant: Tenant) -> None:
    await patched(http, tenant, disabled=True)

    await http.delete(path(tenant))

    assert (await got(http, ALL))["data"] == []
    assert (await http.get(f"{path(tenant)}/health")).status_code == 404
