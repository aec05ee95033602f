"""Whoever changes something finds it changed with the next request, whatever is remembered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.dispatching import eventually
from tests.gateway_server import Gateway
from tests.tenants import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = "/api/v1/management/environment-settings"


@contextmanager
def notifications_late(gateway: Gateway) -> Iterator[None]:
    """Let the gateway read nothing that Postgres tells of changes for a while."""
    link = gateway.app.state.parts.listener._changes._link
    link._transport.pause_reading()
    try:
        yield
    finally:
        link._transport.resume_reading()


async def test_a_change_is_answered_once_the_gateway_has_heard_of_it_itself(
    http: httpx.AsyncClient, gateway: Gateway, tenant: Tenant
) -> None:
    async def is_written() -> bool:
        return bool(
            await gateway.pool.fetchval(
                "SELECT settings ->> 'enforceHttps' FROM environment WHERE id = $1",
                gateway.environment_id,
            )
        )

    plain = {"url": "http://example.com/hook"}
    path = f"/api/v1/app/{tenant.app_id}/endpoint"
    assert (await http.post(path, json=plain)).status_code == 201

    with notifications_late(gateway):
        change = asyncio.ensure_future(http.patch(SETTINGS, json={"enforceHttps": True}))
        await eventually(is_written)
        for _ in range(3):  # time for an answer to come
            assert (await http.get("/api/v1/health/ping")).is_success
        answered_early = change.done()
    assert (await change).status_code == 200

    assert not answered_early
    assert (await http.post(path, json=plain)).status_code == 422
