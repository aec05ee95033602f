"""A search of messages is the list of them, asked for by a body."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests import rows
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
STEP = timedelta(milliseconds=8)  # ids tell times 4 ms apart


async def searched(http: httpx.AsyncClient, tenant: Tenant, **body: Any) -> dict[str, Any]:
    said = await http.post(f"/api/v1/app/{tenant.uid}/msg/search", json=body)
    assert said.status_code == 200, said.text
    return dict(said.json())


async def stored(tenant: Tenant) -> list[str]:
    """Store messages, some of each kind; give their ids."""
    began = rows.now() - timedelta(hours=1)
    return [
        await rows.message(
            tenant.link,
            tenant.app_id,
            began + n * STEP,
            event_type="abc"[n % 3],
            channels=["x"] if n % 2 else None,
            tags=["t"] if n % 4 else None,
        )
        for n in range(12)
    ]


async def test_a_search_finds_what_the_list_does(
    http: httpx.AsyncClient, tenant: Tenant, desk: Desk
) -> None:
    await stored(await desk.tenant("two"))
    sent = await stored(tenant)
    path = f"/api/v1/app/{tenant.uid}/msg"
    at = (await http.get(f"{path}/{sent[6]}")).json()["timestamp"]
    asked: list[dict[str, Any]] = [
        {},
        {"event_types": ["a", "c"]},
        {"channel": "x"},
        {"tag": "t"},
        {"event_types": ["b"], "channel": "x", "tag": "t", "limit": 1},
        {"before": at},
        {"after": at},
        {"after": at, "limit": 2},
        {"iterator": sent[4], "limit": 2},
        {"iterator": f"-{sent[4]}", "limit": 2},
    ]
    for body in asked:
        query = {name: ",".join(v) if isinstance(v, list) else v for name, v in body.items()}
        listed = (await http.get(path, params=query | {"with_content": "false"})).json()

        assert await searched(http, tenant, **body) == listed, body
        assert listed["data"], body


async def test_payloads_are_shown_when_asked_for(http: httpx.AsyncClient, tenant: Tenant) -> None:
    await stored(tenant)

    without = await searched(http, tenant, limit=1)
    with_it = await searched(http, tenant, limit=1, with_content=True)

    assert [page["data"][0]["payload"] for page in (without, with_it)] == [{}, {"n": 1}]


async def test_a_search_is_done_again_whatever_its_idempotency_key(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    path = f"/api/v1/app/{tenant.uid}/msg/search"
    key = {"idempotency-key": "k"}
    before = await http.post(path, json={}, headers=key)
    await stored(tenant)
    after = await http.post(path, json={}, headers=key)

    assert [len(said.json()["data"]) for said in (before, after)] == [0, 12]
    assert await tenant.link.fetchval("SELECT count(*) FROM kept_answer") == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", 251),
        ("iterator", "msg_none"),
        ("before", "yesterday"),
        ("event_types", "a"),
        ("event_types", ["a b"]),
        ("event_types", ["a"] * 1_001),
        ("channel", "a b"),
        ("tag", "a b"),
        ("with_content", "yes"),
    ],
)
async def test_what_cannot_be_searched_for_says_where(
    http: httpx.AsyncClient, tenant: Tenant, field: str, value: object
) -> None:
    said = await http.post(f"/api/v1/app/{tenant.uid}/msg/search", json={field: value})

    assert said.status_code == 422
    assert said.json()["detail"][0]["loc"][:2] == ["body", field]
