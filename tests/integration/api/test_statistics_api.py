"""Statistics through the official client, counted by a real dispatcher."""

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from svix.api import (
    ApplicationIn,
    AppUsageStatsIn,
    EndpointIn,
    EventTypeImportOpenApiIn,
    EventTypeIn,
    MessageIn,
    SvixAsync,
)
from svix.exceptions import HTTPValidationError
from svix.models import BackgroundTaskStatus

from tests.dispatching import Running, dispatching, eventually, now
from tests.gateway_server import Gateway
from tests.receiver import Receiver
from tests.services import Services
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL = "https://hooks.example.com/"
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(shared: Gateway, services: Services) -> AsyncIterator[Running]:
    async with dispatching(shared.pool, services.nats_url) as dispatcher:
        yield dispatcher


async def data_of(svix: SvixAsync, task_id: str) -> dict[str, Any]:
    """Wait for a task; give what it found."""

    async def over() -> bool:
        found = await svix.background_task.get(task_id)
        return found.status is not BackgroundTaskStatus.RUNNING

    await eventually(over)
    found = await svix.background_task.get(task_id)
    assert found.status is BackgroundTaskStatus.FINISHED
    return found.data


async def tried(tenant: Tenant, at: datetime, *numbers: int) -> None:
    """Count attempts in a minute: delivered, 3xx, 4xx, 5xx, without an answer."""
    await tenant.link.execute(
        """INSERT INTO rollup_minute (app_id, endpoint_id, bucket, delivered, status_3xx,
                                      status_4xx, status_5xx, no_answer)
           VALUES ($1, $2, date_trunc('minute', $3::timestamptz), $4, $5, $6, $7, $8)""",
        tenant.app_id, tenant.endpoint_id, at, *numbers,
    )  # fmt: skip


@pytest.mark.usefixtures("running")
async def test_the_attempts_of_a_time_are_counted_for_each_app(
    svix: SvixAsync, tenant: Tenant
) -> None:
    idle = await svix.application.create(ApplicationIn(name="Idle", uid="idle"))
    until = now().replace(second=0, microsecond=0)
    for at, numbers in (
        (until - 2 * MINUTE, (1, 1, 1, 1, 1)),
        (until - MINUTE, (4, 0, 0, 0, 0)),
        (until, (100, 0, 0, 0, 0)),
        (until - 9 * MINUTE, (100, 0, 0, 0, 0)),
    ):
        await tried(tenant, at, *numbers)
    span = {"since": until - 2 * MINUTE + timedelta(seconds=30), "until": until}

    every = await svix.statistics.aggregate_app_stats(AppUsageStatsIn(**span))
    some = await svix.statistics.aggregate_app_stats(
        AppUsageStatsIn(**span, app_ids=["idle", idle.id, "nobody"])
    )

    counted = {
        one["appId"]: (one["appUid"], one["messageDestinations"])
        for one in (await data_of(svix, every.id))["appStats"]
    }
    assert counted == {tenant.app_id: (tenant.uid, 9), idle.id: ("idle", 0)}
    assert (every.unresolved_app_ids, some.unresolved_app_ids) == ([], ["nobody"])
    assert [one["appId"] for one in (await data_of(svix, some.id))["appStats"]] == [idle.id]


@pytest.mark.usefixtures("running")
async def test_the_event_types_that_endpoints_ask_for_are_listed_for_each_app(
    svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    for name in ("a", "b"):
        await svix.event_type.create(EventTypeIn(name=name, description=""))
    one, two, three = [
        await svix.application.create(ApplicationIn(name=name)) for name in ("1", "2", "3")
    ]
    await svix.endpoint.create(one.id, EndpointIn(url=URL, event_types=["b"]))
    await svix.endpoint.create(one.id, EndpointIn(url=URL, event_types=["b", "a"]))
    await svix.endpoint.create(two.id, EndpointIn(url=URL))

    asked = await svix.statistics.aggregate_event_types()

    listed = {
        found["appId"]: (found["explicitlySubscribedEventTypes"], found["hasCatchAllEndpoint"])
        for found in (await data_of(svix, asked.id))["event_types"]
    }
    assert listed == {one.id: (["a", "b"], False), two.id: ([], True), three.id: ([], False)}
    ours = (await http.get(f"/api/v1/task/{asked.id}")).json()
    assert (ours["kind"], ours["state"]) == ("event-type.aggregate", "finished")


async def test_a_time_or_apps_that_cannot_be_are_refused(svix: SvixAsync) -> None:
    with pytest.raises(HTTPValidationError) as backwards:
        await svix.statistics.aggregate_app_stats(
            AppUsageStatsIn(since=now(), until=now() - MINUTE)
        )
    with pytest.raises(HTTPValidationError) as nobody:
        await svix.statistics.aggregate_app_stats(
            AppUsageStatsIn(since=now() - MINUTE, until=now(), app_ids=["nobody"])
        )

    assert [fault.loc for fault in backwards.value.detail] == [["body", "since"]]
    assert [fault.loc for fault in nobody.value.detail] == [["body", "appIds"]]


async def test_the_attempts_of_an_app_are_counted_by_period(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    until = now().replace(minute=0, second=0, microsecond=0)
    for at, numbers in (
        (until - 120 * MINUTE, (1, 1, 1, 1, 1)),
        (until - 61 * MINUTE, (2, 0, 0, 0, 3)),
        (until - 1 * MINUTE, (4, 0, 0, 0, 0)),
        (until - 121 * MINUTE, (100, 0, 0, 0, 0)),
    ):
        await tried(tenant, at, *numbers)
    path = f"/api/v1/stats/app/{tenant.uid}/attempt"
    span = {
        "startDate": (until - 90 * MINUTE).isoformat(),
        "endDate": (until - MINUTE).isoformat(),
    }

    hours = (await http.get(path, params=span)).json()
    fives = (await http.get(path, params=span | {"period": "FiveMinutes"})).json()
    day = (await http.get(path)).json()

    assert hours["period"] == "OneHour"
    assert hours["data"] == {"successCount": [3, 4], "failureCount": [7, 0], "canceledCount": None}
    assert datetime.fromisoformat(hours["startDate"]) == until - 120 * MINUTE
    assert datetime.fromisoformat(hours["endDate"]) == until
    assert fives["data"]["successCount"] == [0] * 5 + [2] + [0] * 11 + [4]
    assert sum(day["data"]["successCount"]) == 107
    assert len(day["data"]["successCount"]) in (24, 25)


async def test_periods_that_cannot_be_counted_are_refused(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    path = f"/api/v1/stats/app/{tenant.app_id}/attempt"
    at = now()
    refused: list[tuple[int, dict[str, str]]] = [
        (400, {"period": "OneYear"}),
        (400, {"endDate": (at + MINUTE).isoformat()}),
        (400, {"startDate": at.isoformat(), "endDate": (at - MINUTE).isoformat()}),
        (400, {"startDate": (at - timedelta(days=8)).isoformat(), "period": "FiveMinutes"}),
        (400, {"startDate": "0001-01-01T00:00:00Z"}),
        (422, {"event_types": "a b"}),
    ]

    statuses = [(await http.get(path, params=query)).status_code for _, query in refused]

    assert statuses == [status for status, _ in refused]
    ancient = await http.get(path, params={"endDate": "0001-01-01T00:00:00Z"})
    assert ancient.status_code == 400
    assert (await http.get("/api/v1/stats/app/nobody/attempt")).status_code == 404


async def test_endpoints_and_the_apps_that_have_some_are_counted(
    svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    live, off, play, _ = [
        await svix.application.create(ApplicationIn(name=name))
        for name in ("live", "off", "play", "bare")
    ]
    for app, url, disabled in (
        (live, URL, False),
        (live, URL, True),
        (off, URL, True),
        (play, "https://play.svix.com/in/x", False),
    ):
        await svix.endpoint.create(app.id, EndpointIn(url=url, disabled=disabled))
    gone = await svix.endpoint.create(live.id, EndpointIn(url=URL))
    await svix.endpoint.delete(live.id, gone.id)

    async def counted(path: str, **query: str) -> Any:
        return (await http.get(f"/api/v1/{path}", params=query)).json()

    every = {"exclude_svix_play": "false"}
    assert await counted("stats/endpoint/count") == {"active": 1, "disabled": 2}
    assert await counted("stats/endpoint/count", **every) == {"active": 2, "disabled": 2}
    assert await counted("app/stats/count-active") == {"count": 1}
    assert await counted("app/stats/count-active", **every) == {"count": 2}
    every |= {"exclude_disabled": "false"}
    assert await counted("app/stats/count-active", exclude_disabled="false") == {"count": 2}
    assert await counted("app/stats/count-active", **every) == {"count": 3}


@pytest.mark.usefixtures("running")
async def test_event_types_are_exported_as_what_can_be_imported(
    svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    schema = {"1": {"type": "object", "required": ["id"]}}
    await svix.event_type.create(EventTypeIn(name="a.b", description="Of b.", schemas=schema))
    await svix.event_type.create(EventTypeIn(name="old", description="", archived=True))

    asked = await http.post("/api/v1/event-type/export/openapi")

    assert (asked.status_code, asked.json()["task"]) == (202, "sdk.generate")
    url = (await data_of(svix, asked.json()["id"]))["schemaZip"]
    packed = base64.b64decode(url.removeprefix("data:application/zip;base64,"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        spec = archive.read("openapi.json").decode()
    assert list(json.loads(spec)["webhooks"]) == ["a.b"]
    again = EventTypeImportOpenApiIn(spec_raw=spec, dry_run=True)
    assert (await svix.event_type.import_openapi(again)).data.to_modify == []


async def typed(tenant: Tenant, at: datetime, event_type: str, *numbers: int) -> None:
    """Count attempts of an event type in five minutes: delivered, and not."""
    await tenant.link.execute(
        """INSERT INTO rollup_type (app_id, bucket, event_type, delivered, failed)
           VALUES ($1, date_bin('5 minutes', $2, 'epoch'::timestamptz), $3, $4, $5)""",
        tenant.app_id, at, event_type, *numbers,
    )  # fmt: skip


async def test_the_attempts_of_an_app_are_counted_by_event_type(
    http: httpx.AsyncClient, tenant: Tenant, desk: Desk
) -> None:
    until = now().replace(minute=0, second=0, microsecond=0)
    for at, name, numbers in (
        (until - 11 * MINUTE, "a", (100, 0)),
        (until - 10 * MINUTE, "a", (1, 2)),
        (until - 5 * MINUTE, "a", (4, 0)),
        (until - 5 * MINUTE, "b", (8, 16)),
        (until - 5 * MINUTE, "", (32, 64)),
        (until, "a", (1000, 0)),
    ):
        await typed(tenant, at, name, *numbers)
    await typed(await desk.tenant("other"), until - MINUTE, "a", 5000, 0)
    path = f"/api/v1/app/{tenant.uid}/stats/attempts"
    span = {
        "since": (until - 7 * MINUTE).isoformat(),
        "until": (until - 2 * MINUTE).isoformat(),
    }

    every = (await http.get(path, params=span)).json()
    some = (await http.get(path, params=span | {"event_types": "a,c"})).json()
    day = (await http.get(path)).json()

    assert every["by_event_type"] == {
        "a": {"success": 5, "failure": 2, "canceled": 0},
        "b": {"success": 8, "failure": 16, "canceled": 0},
        "(other)": {"success": 32, "failure": 64, "canceled": 0},
    }
    totals = ("total_success", "total_failure", "total_canceled")
    assert [every[name] for name in totals] == [45, 82, 0]
    assert datetime.fromisoformat(every["since"]) == until - 10 * MINUTE
    assert datetime.fromisoformat(every["until"]) == until
    assert some["by_event_type"] == {"a": {"success": 5, "failure": 2, "canceled": 0}}
    assert [some[name] for name in totals] == [5, 2, 0]
    assert day["total_success"] >= 1145


async def test_the_periods_of_an_app_are_counted_for_event_types_too(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    until = now().replace(minute=0, second=0, microsecond=0)
    for at, name, numbers in (
        (until - 61 * MINUTE, "a", (1, 2)),
        (until - 1 * MINUTE, "a", (4, 0)),
        (until - 1 * MINUTE, "b", (8, 0)),
        (until - 1 * MINUTE, "c", (16, 0)),
    ):
        await typed(tenant, at, name, *numbers)
    span = {"startDate": (until - 120 * MINUTE).isoformat(), "endDate": until.isoformat()}

    said = await http.get(
        f"/api/v1/stats/app/{tenant.uid}/attempt", params=span | {"event_types": "a,b"}
    )

    counts = said.json()["data"]
    assert (counts["successCount"], counts["failureCount"]) == ([1, 12], [2, 0])


async def test_a_time_that_cannot_be_counted_by_event_type_is_refused(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    path, at = f"/api/v1/app/{tenant.app_id}/stats/attempts", now()
    refused: list[tuple[int, dict[str, str]]] = [
        (400, {"until": (at + MINUTE).isoformat()}),
        (400, {"since": at.isoformat(), "until": (at - MINUTE).isoformat()}),
        (400, {"since": (at - timedelta(days=32)).isoformat()}),
        (400, {"since": "0001-01-01T00:00:00Z"}),
        (400, {"since": "yesterday"}),
        (422, {"event_types": "a b"}),
    ]

    statuses = [(await http.get(path, params=query)).status_code for _, query in refused]

    assert statuses == [status for status, _ in refused]
    assert (await http.get("/api/v1/app/nobody/stats/attempts")).status_code == 404


@pytest.mark.usefixtures("running")
async def test_what_a_dispatcher_attempts_is_counted_by_event_type_within_seconds(
    http: httpx.AsyncClient, svix: SvixAsync, receiver: Receiver
) -> None:
    app = await svix.application.create(ApplicationIn(name="One"))
    await svix.endpoint.create(app.id, EndpointIn(url=receiver.url("/hook")))
    for name in ("a", "b", "b"):
        await svix.message.create(app.id, MessageIn(event_type=name, payload={}))

    async def counts() -> dict[str, int]:
        said = (await http.get(f"/api/v1/app/{app.id}/stats/attempts")).json()
        return {name: one["success"] for name, one in said["by_event_type"].items()}

    async def counted() -> bool:
        return await counts() == {"a": 1, "b": 2}

    await eventually(counted)
